package broker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestKindIsChosen(t *testing.T) {
	for name, test := range map[string]struct {
		wanted Kind
		root   string
		engine bool
		want   Kind // "": an error
	}{
		"an engine answers":              {"", "", true, Compose},
		"no engine answers":              {"", "", false, Native},
		"forced, though an engine is up": {Native, "", true, Native},
		"forced, and the engine is up":   {Compose, "", true, Compose},
		"forced, though none is up":      {Compose, "", false, ""},
		"a root folder is named":         {"", "/root4", true, Native},
		"external cannot be started":     {External, "", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseKind(Config{Kind: test.wanted, Root: test.root}, func() bool { return test.engine })
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestTargetOfAMQPURL(t *testing.T) {
	for _, test := range []struct {
		url       string
		port      int // AMQP_PORT
		address   string
		startable bool
	}{
		{"", 0, "localhost:5672", true},
		{"", 5673, "localhost:5673", true},
		{"amqp://guest:guest@localhost:5673/", 0, "localhost:5673", true},
		{"amqp://guest:guest@localhost:5673/", 5673, "localhost:5673", true},
		{"amqp://guest:guest@127.0.0.1/%2F", 0, "127.0.0.1:5672", true},
		{"amqp://localhost", 0, "localhost:5672", true},
		{"amqp://guest:guest@localhost:5673/", 5674, "localhost:5673", false},
		{"amqp://guest:guest@example.com/", 0, "example.com:5672", false},
		{"amqp://guest:guest@[::1]:5672/", 0, "[::1]:5672", false},
		{"amqps://guest:guest@localhost/", 0, "localhost:5671", false},
		{"amqp://me:guest@localhost/", 0, "localhost:5672", false},
		{"amqp://guest:secret@localhost/", 0, "localhost:5672", false},
		{"amqp://guest:guest@localhost/mine", 0, "localhost:5672", false},
	} {
		wish := Wish{Config{AMQPPort: test.port}, test.url}
		got, err := wish.target(wish.url())
		if err != nil || got.String() != test.address || got.startable != test.startable {
			t.Errorf("%s, AMQP_PORT %d: at %s, startable: %v, error: %v", test.url, test.port, got, got.startable, err)
		}
	}
}

func TestNoPartOfABrokenAMQPURLIsTold(t *testing.T) {
	for _, url := range []string{
		"secret", "http://me:secret@localhost/", "amqp://me:se cret@localhost/", "amqp://me:1234/secret@localhost/",
		"amqp://me:1234?secret@localhost/", "AMQP://me:1234/secret@localhost/", "amqp://me:secret@localhost:port/",
		"amqp://me:secret@localhost:0/", "amqp://me:secret@localhost:65536/", "amqp:localhost", "",
	} {
		at, err := Wish{}.target(url)
		if err == nil {
			t.Errorf("%s was taken for %s", url, at)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestEnvironmentIsRead(t *testing.T) {
	lines := filepath.Join(t.TempDir(), "rabbitmq.conf")
	if err := os.WriteFile(lines, []byte("heartbeat = 7\nvm_memory_high_watermark.relative = 0.5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AMQP_URL": "", "BROKER": "native", "AMQP_PORT": "5673", "MANAGEMENT_PORT": "", "RABBITMQ_ROOT": "", "BROKER_CONFIG": lines,
	} {
		t.Setenv(name, value)
	}
	wish, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	if wish.Kind != Native || wish.AMQPPort != 5673 || wish.ManagementPort != 0 || filepath.Base(wish.Dir) != "tutorial" {
		t.Errorf("%+v", wish)
	}
	if !slices.Equal(wish.Lines, []string{"heartbeat = 7", "vm_memory_high_watermark.relative = 0.5"}) {
		t.Errorf("lines: %q", wish.Lines)
	}
	for name, wrong := range map[string]string{"BROKER": "podman", "AMQP_PORT": "65536", "MANAGEMENT_PORT": "http", "BROKER_CONFIG": "/nowhere"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, wrong)
			if _, err := FromEnv(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, wrong, err)
			}
		})
	}
}

func TestFreePortsDifferAndAreNoClientsPorts(t *testing.T) {
	ports, err := FreePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if len(slices.Compact(slices.Clone(ports))) != 20 {
		t.Errorf("twice the same: %v", ports)
	}
	if ports[0] < 1024 || ports[19] >= 32768 {
		t.Errorf("out of range: %v", ports)
	}
}
