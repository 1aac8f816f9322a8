// Package simulator plays Forge and Atlassian for one app, on a laptop or in a
// test: it signs invocation tokens, delivers events to a backend as Forge
// does, and answers the backend's calls to Jira, Confluence and the GraphQL
// gateway from memory. It is meant for backends in any language; nothing in it
// knows about bellows' own queue.
//
//	sim, err := simulator.New(simulator.Config{Manifest: m, Remote: "http://127.0.0.1:3000", PublicURL: "http://127.0.0.1:9470"})
//	go sim.Run(ctx)                    // scheduled triggers
//	http.Serve(listener, sim.Handler())
//
// # What it serves
//
//	/.well-known/jwks.json         the key set of invocation tokens
//	/ex/<product>/<cloudId>/…      Jira REST 2 and 3, Confluence REST 1 and 2
//	/graphql                       the mutation offlineUserAuthToken
//	/_sim/…                        control
//
// The APIs refuse a missing, expired, revoked or foreign token with 401; the
// header X-Simulator-Reason says why. What the simulator does not have is a
// 404 that says so.
//
// # How it delivers
//
//	first delivery ──2xx in 5 s──▶ delivered
//	      │ anything else
//	      ▼ 60 s (scaled), retryContext, a fresh token
//	up to four more ──2xx in 5 s──▶ delivered
//	      │
//	      ▼ lost
//
// A body over 200 kB is never sent, redirects are failures, and a system token
// goes along only if the manifest's endpoint asks for one. The time scale
// shrinks the minute, the intervals of scheduled triggers and the lives of
// tokens; it never touches the 5 seconds or the 25 seconds of an invocation
// token.
//
// # Control
//
// Requests and answers are JSON; an empty body is an empty request. A refusal
// is {"error": {"message": …}} with 400, 403, 404 or 409. The types name the
// members.
//
//	GET    /_sim/state                           State
//	GET    /_sim/events                          what can be triggered: [CatalogueEvent]
//	POST   /_sim/trigger                         TriggerRequest → TriggerResult, when all deliveries have ended
//	POST   /_sim/scheduled                       ScheduledRequest → TriggerResult: a scheduled trigger now
//	POST   /_sim/schedules                       Schedules → Schedules: on or off
//	GET    /_sim/installations                   [Installation]
//	POST   /_sim/installations                   InstallRequest → LifecycleResult
//	POST   /_sim/installations/<id>/<action>     LifecycleRequest → LifecycleResult; action is upgrade,
//	                                             preUninstall, uninstall, reinstall or revoke (all tokens so far)
//	POST   /_sim/accounts                        Account → Account: a person the sites know
//	POST   /_sim/fit                             FITOptions → FITResult: an invocation token
//	GET    /_sim/fit/faults                      [FITFault]: names of what can be wrong with one
//	GET    /_sim/faults                          [Fault]
//	POST   /_sim/faults                          Fault → Fault: answer 429, 500, slowly, not at all …
//	DELETE /_sim/faults, /_sim/faults/<id>       [Fault] that are left
//	POST   /_sim/keys                            KeySetMode → State: padded, failing, slow
//	POST   /_sim/keys/rotate                     RotateRequest → Key
//	POST   /_sim/keys/drop                       Key → Key
//	GET    /_sim/ledger?after=&installation=&wait=  Ledger; wait is a duration such as 5s
//	POST   /_sim/reset                           State
//
// [Client] is the same in Go. Control refuses calls that carry the Origin of
// another web page.
//
// # Failure handling
//
// New fails on a configuration that cannot work. Afterwards the simulator
// fails only as it is told to: an unreachable backend is a result, not an
// error.
package simulator
