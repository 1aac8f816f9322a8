//go:build !race

package rules_test

// slowdown is how much longer everything may take than is promised.
const slowdown = 1
