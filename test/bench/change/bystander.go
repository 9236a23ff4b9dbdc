// SPDX-License-Identifier: Apache-2.0

package change

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/weirnet/weir/test/node"
)

// bystander is the process of the witnesses.
type bystander struct {
	process *exec.Cmd
	end     io.Closer
	said    *bufio.Reader
	log     bytes.Buffer
}

// startBystander is done when the witnesses watch.
func startBystander() (b *bystander, err error) {
	b = &bystander{process: exec.Command("/proc/self/exe", WitnessCommand)}
	b.process.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	b.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us; we end it in order
	b.process.Stderr = &b.log
	if b.end, err = b.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	b.said = bufio.NewReader(out)
	if err := b.process.Start(); err != nil {
		return nil, fmt.Errorf("start the witnesses: %w", err)
	}
	if line, err := b.said.ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("the witnesses say %q: %w", line, err), b.close())
	}
	return b, nil
}

// testify ends the witnesses.
func (b *bystander) testify() (*testimony, error) {
	if err := b.end.Close(); err != nil {
		return nil, fmt.Errorf("end the witnesses: %w", err)
	}
	var t testimony
	if err := json.NewDecoder(b.said).Decode(&t); err != nil {
		return nil, fmt.Errorf("what the witnesses saw: %w", err)
	}
	if t.Lost > 0 {
		return nil, fmt.Errorf("the witnesses were late %d times more than they keep: this machine is too busy to be measured on", t.Lost)
	}
	return &t, nil
}

// close tells what went wrong in the process.
func (b *bystander) close() error {
	err := node.End(b.process)
	if said := strings.TrimSpace(b.log.String()); said != "" {
		err = errors.Join(err, errors.New(said))
	}
	return err
}
