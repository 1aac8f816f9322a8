package forge_test

import (
	"fmt"

	"bellows/internal/forge"
)

// A redelivery has another form and the same digest.
func ExampleScanBody() {
	first := forge.ScanBody([]byte(`{"eventType":"avi:jira:created:issue","timestamp":"1800000000000","contextToken":"private"}`))
	again := forge.ScanBody([]byte(`{"payload":{"timestamp":"1800000000000","eventType":"avi:jira:created:issue","retryContext":{"retryCount":1,"retryReason":"TIMEOUT_ERROR"}}}`))
	fmt.Println(first.EventType, first.Distinct)
	fmt.Println(string(first.Data))
	fmt.Println(again.Retry, again.RetryCount, again.Digest == first.Digest)
	// Output:
	// avi:jira:created:issue true
	// {"eventType":"avi:jira:created:issue","timestamp":"1800000000000"}
	// true 1 true
}
