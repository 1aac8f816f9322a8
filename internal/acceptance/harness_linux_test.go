package acceptance

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the process when the test binary ends without cleaning
// up, as it does at a test timeout.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
