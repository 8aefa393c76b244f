package broker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

func TestUpUsesTheBrokerOfAMQPURLOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	shared, err := url.Parse(harness.SharedBroker(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	at := func(user, password, vhost string) string {
		u := *shared
		u.User, u.Path = url.UserPassword(user, password), "/"+vhost
		return u.String()
	}
	for name, test := range map[string]struct {
		url  string
		kind broker.Kind
		told string // a part of the line, or of the error
		ok   bool
	}{
		"it answers":               {shared.String(), "", "using the broker that already answers at localhost:" + shared.Port(), true},
		"it answers, external":     {shared.String(), broker.External, "using the broker that already answers at ", true},
		"wrong password":           {at("guest", "secret", ""), "", "the broker refuses the log-in", false},
		"wrong user":               {at("secret", "guest", ""), "", "the broker refuses the log-in", false},
		"no such virtual host":     {at("guest", "guest", "nowhere"), "", "the virtual host is wrong", false},
		"nothing there, elsewhere": {"amqp://guest:guest@127.0.0.2:1/", "", "no broker was found at 127.0.0.2:1, and none can be started there", false},
		"nothing there, external":  {"amqp://guest:guest@localhost:1/", broker.External, "BROKER=external, but no broker answers at localhost:1", false},
		"nothing there, own user":  {"amqp://me:secret@localhost:1/", "", "and none can be started there", false},
		"one of two answers":       {"amqp://guest:guest@localhost:1/," + shared.String(), "", "at localhost:" + shared.Port() + ", one of 2 that", true},
		"none of two answers":      {"amqp://guest:secret@localhost:1/,amqp://localhost:2/", "", "none of the 2 brokers", false},
		"one of two is no URL":     {shared.String() + ",secret", "", "broker 2 in AMQP_URL: AMQP_URL is not", false},
		"port of somebody else's":  {shared.String(), broker.Native, "the port is taken: " + shared.Port(), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wish := broker.Wish{Config: harness.OwnConfig(t), URL: test.url}
			wish.Kind = test.kind
			server, err := broker.Up(t.Context(), wish)
			if (err == nil) != test.ok || test.ok && !strings.HasSuffix(test.url, server.URL) {
				t.Errorf("%+v, %v", server, err)
			}
			if all := fmt.Sprintln(server.Told, err); !strings.Contains(all, test.told) || strings.Contains(all, "secret") {
				t.Errorf("told: %s", all)
			}
			if _, err := os.Stat(filepath.Join(wish.Dir, "node.json")); err == nil {
				t.Error("a broker was started")
			}
		})
	}
}

// A broker comes up at the port that AMQP_URL names; Up finds it again, notices that it has crashed,
// and starts it with its data.
func TestUpStartsWhatAMQPURLNames(t *testing.T) {
	t.Parallel()
	wish := broker.Wish{Config: harness.OwnConfig(t)}
	ports, err := broker.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	wish.ManagementPort = ports[0]
	wish.URL = fmt.Sprintf("amqp://guest:guest@localhost:%d/", ports[1])
	t.Cleanup(func() {
		node, err := broker.Open(wish.Config)
		if err == nil {
			err = node.Destroy(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	expect := func(want string) (management string) {
		t.Helper()
		server, err := broker.Up(t.Context(), wish)
		if err != nil {
			t.Fatal(err)
		}
		if server.URL != wish.URL || server.ManagementURL == "" || !strings.HasPrefix(server.Told, want) {
			t.Errorf("%+v", server)
		}
		return server.ManagementURL
	}
	expect("started RabbitMQ ")
	if err := harness.API(expect("already up: RabbitMQ "), http.MethodPut, "/vhosts/kept", nil, nil); err != nil {
		t.Fatal(err)
	}

	elsewhere := wish
	elsewhere.URL = "amqp://guest:guest@localhost:1/"
	if _, err := broker.Up(t.Context(), elsewhere); err == nil || !strings.Contains(err.Error(), "make down") {
		t.Errorf("AMQP_URL names another port: %v", err)
	}

	node, err := broker.Open(wish.Config)
	if err != nil {
		t.Fatal(err)
	}
	if node.Kind == broker.Native {
		process, err := os.FindProcess(node.PID)
		if err != nil {
			t.Fatal(err)
		}
		process.Kill() // without telling its Node
		harness.Eventually(t, 10*time.Second, "it has ended", func() bool { return !node.Running() })
	} else if err := node.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := harness.API(expect("started RabbitMQ "), http.MethodGet, "/vhosts/kept", nil, nil); err != nil {
		t.Errorf("its data is gone: %v", err)
	}
}
