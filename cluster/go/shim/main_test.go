package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func present() map[string]bool {
	return capabilities(0x1fffeffffff) // everything but CAP_SYS_RESOURCE
}

func TestOnlyWhatTheBoundingSetLacksIsRemoved(t *testing.T) {
	document := `{"ociVersion":"1.0.2","process":{"cwd":"/","capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE","CAP_NEW"],"effective":["CAP_SYS_RESOURCE"]}},"linux":{"resources":{"memory":{"limit":9223372036854771712}}}}`
	edited, err := edit([]byte(document), false, present())
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Process struct {
			Cwd          string
			Capabilities map[string][]string
		}
	}
	if err := json.Unmarshal(edited, &spec); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(spec.Process.Capabilities["bounding"], " "); got != "CAP_CHOWN CAP_NEW" {
		t.Errorf("bounding: %s", got)
	}
	if got := spec.Process.Capabilities["effective"]; len(got) != 0 {
		t.Errorf("effective: %s", got)
	}
	if spec.Process.Cwd != "/" || !strings.Contains(string(edited), `{"memory":{"limit":9223372036854771712}}`) {
		t.Errorf("something else has changed: %s", edited)
	}
}

func TestAProcessFileIsEditedAsOne(t *testing.T) {
	edited, err := edit([]byte(`{"args":["sh"],"capabilities":{"bounding":["CAP_SYS_RESOURCE"]}}`), true, present())
	if err != nil || string(edited) != `{"args":["sh"],"capabilities":{"bounding":[]}}` {
		t.Errorf("%s %v", edited, err)
	}
}

func TestWhatNeedsNoChangeIsLeftAlone(t *testing.T) {
	for _, document := range []string{
		`{"process":{"capabilities":{"bounding":["CAP_CHOWN"]}}}`,
		`{"process":{"capabilities":null}}`,
		`{"process":{}}`,
	} {
		if edited, err := edit([]byte(document), false, present()); edited != nil || err != nil {
			t.Errorf("%s became %s, %v", document, edited, err)
		}
	}
}

func TestTheSubcommandIsFoundBehindGlobalOptions(t *testing.T) {
	args := strings.Fields("--root /run/runc --log exec --log-format json create --bundle /b --pid-file p id")
	command, rest := subcommand(args)
	if command != "create" || option(rest, "--bundle", "-b") != "/b" {
		t.Errorf("%s %s", command, rest)
	}
	if command, _ := subcommand([]string{"--version"}); command != "" {
		t.Errorf("%s", command)
	}
}

func TestOptionsAreFoundInEverySpelling(t *testing.T) {
	for _, args := range []string{"--process /f id", "--process=/f id", "-d -p /f id"} {
		if got := option(strings.Fields(args), "--process", "-p"); got != "/f" {
			t.Errorf("%s: %s", args, got)
		}
	}
}
