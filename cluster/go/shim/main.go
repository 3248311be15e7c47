// Command shim is an OCI runtime that lets privileged containers start on machines whose capability bounding set is
// not full: containers, CI runners, sandboxes. It removes from the capability lists it is given what the bounding set
// lacks, then becomes the real runc with its arguments untouched. Without it runc refuses with "unable to apply caps".
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Every capability by its number, as in linux/capability.h.
var names = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// The global options of runc that take a value in the next argument.
var valued = map[string]bool{"--root": true, "--log": true, "--log-format": true, "--criu": true, "--rootless": true}

func main() {
	if err := adapt(os.Args[1:]); err != nil {
		fail(err)
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		fail(err)
	}
	fail(syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ()))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "slipway shim:", err)
	os.Exit(1)
}

// adapt edits the file that the command line makes runc read, when it is one that holds capabilities.
func adapt(args []string) error {
	command, rest := subcommand(args)
	var file string
	var inProcess bool
	switch command {
	case "create", "run":
		file = filepath.Join(option(rest, "--bundle", "-b"), "config.json")
	case "exec":
		file, inProcess = option(rest, "--process", "-p"), true
	}
	if file == "" {
		return nil
	}
	present, err := boundingSet()
	if err != nil {
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	edited, err := edit(old, inProcess, present)
	if err != nil || edited == nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, edited, info.Mode().Perm())
}

func subcommand(args []string) (string, []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case valued[args[i]]:
			i++
		case !strings.HasPrefix(args[i], "-"):
			return args[i], args[i+1:]
		}
	}
	return "", nil
}

// option is the value of an option written as "--name value", "--name=value" or "-n value"; "" when it is not there.
func option(args []string, long, short string) string {
	for i, arg := range args {
		if value, found := strings.CutPrefix(arg, long+"="); found {
			return value
		}
		if (arg == long || arg == short) && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func boundingSet() (map[string]bool, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for _, line := range strings.Split(string(status), "\n") {
		if value, found := strings.CutPrefix(line, "CapBnd:"); found {
			bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return nil, err
			}
			return capabilities(bits), nil
		}
	}
	return nil, fmt.Errorf("/proc/self/status has no CapBnd line")
}

// capabilities says of every known capability whether its bit is set.
func capabilities(bits uint64) map[string]bool {
	present := make(map[string]bool, len(names))
	for number, name := range names {
		present[name] = bits&(1<<number) != 0
	}
	return present
}

// edit returns the document without the capabilities that are known and not present, or nil when it has none of those.
// Everything else in it stays byte for byte.
func edit(document []byte, isProcess bool, present map[string]bool) ([]byte, error) {
	spec := map[string]json.RawMessage{}
	process := map[string]json.RawMessage{}
	if isProcess {
		if err := json.Unmarshal(document, &process); err != nil {
			return nil, err
		}
	} else {
		if err := json.Unmarshal(document, &spec); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(spec["process"], &process); err != nil {
			return nil, err
		}
	}
	lists := map[string][]string{}
	if raw, found := process["capabilities"]; !found || string(raw) == "null" {
		return nil, nil
	} else if err := json.Unmarshal(raw, &lists); err != nil {
		return nil, err
	}
	changed := false
	for kind, list := range lists {
		kept := make([]string, 0, len(list))
		for _, name := range list {
			if has, known := present[name]; has || !known {
				kept = append(kept, name)
			}
		}
		changed = changed || len(kept) != len(list)
		lists[kind] = kept
	}
	if !changed {
		return nil, nil
	}
	var err error
	if process["capabilities"], err = json.Marshal(lists); err != nil || isProcess {
		if err != nil {
			return nil, err
		}
		return json.Marshal(process)
	}
	if spec["process"], err = json.Marshal(process); err != nil {
		return nil, err
	}
	return json.Marshal(spec)
}
