package worker

import (
	"encoding/json"
	"fmt"
	"strings"

	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// describeInstallation is what expressions see of an installation.
func describeInstallation(i installations.Installation, job jobs.Job) map[string]any {
	m := map[string]any{
		"id": job.Installation, "site": i.Site, "environment": job.Environment, "appVersion": job.AppVersion,
		"cloudId": "", "product": "", "license": licenseOf(i.License),
	}
	if c, err := contextFor(i, "", job); err == nil {
		m["cloudId"], m["product"] = c.CloudID, c.Name
	}
	return m
}

func licenseOf(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	license, err := rules.DecodeEvent(raw)
	if err != nil {
		return nil
	}
	return license
}

// contextFor picks the context of an installation whose API a call goes to:
// the product that is asked for, else the only one, else the one that the
// event comes from.
func contextFor(i installations.Installation, product string, job jobs.Job) (installations.Context, error) {
	if product == "" && len(i.Contexts) == 1 {
		return i.Contexts[0], nil
	}
	asked := product
	if asked == "" {
		asked = productOf(job.Type)
	}
	for _, c := range i.Contexts {
		if strings.EqualFold(c.Name, asked) {
			return c, nil
		}
	}
	var names []string
	for _, c := range i.Contexts {
		names = append(names, c.Name)
	}
	if product != "" {
		return installations.Context{}, fmt.Errorf("the app is not installed in product %q here, only in %s", product, strings.Join(names, ", "))
	}
	return installations.Context{}, fmt.Errorf("the app is installed in several products (%s): say which one with \"product\"", strings.Join(names, ", "))
}

// productOf reads the product from an event name such as
// avi:jira:created:issue.
func productOf(event string) string {
	parts := strings.SplitN(event, ":", 3)
	if len(parts) < 3 || parts[0] != "avi" {
		return ""
	}
	switch parts[1] {
	case "jira-software", "jsm-entity":
		return "jira"
	}
	return parts[1]
}
