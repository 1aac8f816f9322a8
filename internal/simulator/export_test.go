package simulator

import "time"

// SetAnswerLimit shortens the 5 seconds for tests.
func (s *Simulator) SetAnswerLimit(d time.Duration) { s.answerLimit = d }

// Matches is matches.
var Matches = matches
