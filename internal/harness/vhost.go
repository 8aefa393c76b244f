package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Vhost is a virtual host that belongs to one test.
type Vhost struct {
	Name string
	URL  string // the AMQP URL of this virtual host, with guest's credentials

	broker *Broker
}

// NewVhost makes a virtual host on the broker that all tests share, and removes it with all
// its contents when the test ends.
func NewVhost(t testing.TB) *Vhost {
	t.Helper()
	v := SharedBroker(t).NewVhost()
	t.Cleanup(func() { v.broker.api(http.MethodDelete, "/vhosts/"+v.Name, nil, nil) })
	return v
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// NewVhost makes a virtual host on this broker. It stays as long as the broker does.
func (b *Broker) NewVhost() *Vhost {
	b.t.Helper()
	// In the broker's log and console, the test's name shows which test made the virtual host.
	name := strings.Trim(notInName.ReplaceAllString(b.t.Name(), "-"), "-")
	name = name[:min(len(name), 60)] + "-" + randomHex()
	b.api(http.MethodPut, "/vhosts/"+name, nil, nil) // guest makes it, and so gets all permissions
	return &Vhost{Name: name, URL: b.URL() + name, broker: b}
}

// Queue is what a queue holds.
type Queue struct {
	Ready     int // messages waiting to be delivered
	Unacked   int // messages delivered and not yet acknowledged
	Consumers int
}

// Queue returns what the queue holds now. If there is no such queue, the test fails. Ready and
// Consumers are exact. Unacked is up to a second old, like the broker's own figures: wait for it with
// Eventually.
func (v *Vhost) Queue(name string) Queue {
	t := v.broker.t
	t.Helper()
	conn, ch := open(t, v.URL)
	defer conn.Close()
	q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	if err != nil {
		t.Fatalf("queue %q: %v", name, err)
	}
	result := Queue{Ready: q.Messages, Consumers: q.Consumers}
	// Without the statistics, which may be several seconds old, the totals come from the queues'
	// own counters.
	var queues []struct {
		Name    string
		Unacked int `json:"messages_unacknowledged"`
	}
	v.broker.api(http.MethodGet, "/queues/"+v.Name+"?disable_stats=true&enable_queue_totals=true", nil, &queues)
	for _, queue := range queues {
		if queue.Name == name {
			result.Unacked = queue.Unacked
		}
	}
	return result
}

// HasQueue reports whether there is such a queue.
func (v *Vhost) HasQueue(name string) bool {
	v.broker.t.Helper()
	return slices.Contains(v.Queues(), name)
}

// Queues returns the names of all queues.
func (v *Vhost) Queues() []string { v.broker.t.Helper(); return v.names("queues") }

// Describe fills things, a pointer to a slice of structs, with what the management API says about the
// virtual host's "queues", "exchanges" or "bindings".
func (v *Vhost) Describe(what string, things any) {
	v.broker.t.Helper()
	v.broker.api(http.MethodGet, "/"+what+"/"+v.Name+"?disable_stats=true", nil, things)
}

// Exchanges returns the names of all exchanges except the predeclared ones.
func (v *Vhost) Exchanges() []string {
	v.broker.t.Helper()
	return slices.DeleteFunc(v.names("exchanges"), func(name string) bool {
		return name == "" || strings.HasPrefix(name, "amq.")
	})
}

func (v *Vhost) names(what string) (names []string) {
	v.broker.t.Helper()
	var things []struct{ Name string }
	v.Describe(what, &things)
	for _, thing := range things {
		names = append(names, thing.Name)
	}
	return names
}

// DeleteQueue deletes a queue with its messages. Its consumers are cancelled.
func (v *Vhost) DeleteQueue(name string) {
	v.broker.t.Helper()
	v.broker.api(http.MethodDelete, "/queues/"+v.Name+"/"+url.PathEscape(name), nil, nil)
}

// Connections returns how many connections there are to this virtual host. It asks rabbitmqctl: the management
// API may go on showing one that was closed at once.
func (v *Vhost) Connections() (n int) {
	v.broker.t.Helper()
	for _, name := range strings.Fields(v.broker.Ctl("list_connections", "--quiet", "--no-table-headers", "vhost")) {
		if name == v.Name {
			n++
		}
	}
	return n
}

// CloseConnections makes the broker close all connections to this virtual host, with
// CONNECTION_FORCED and the reason.
func (v *Vhost) CloseConnections(reason string) {
	v.broker.t.Helper()
	v.broker.Ctl("close_all_connections", "--vhost", v.Name, reason)
}

// SetPolicy gives the queues whose names match the pattern a policy such as
// {"delivery-limit": 3}.
func (v *Vhost) SetPolicy(name, pattern string, definition map[string]any) {
	v.broker.t.Helper()
	v.broker.api(http.MethodPut, "/policies/"+v.Name+"/"+url.PathEscape(name), map[string]any{
		"pattern": pattern, "definition": definition, "apply-to": "queues",
	}, nil)
}

// AddUser makes a user who may configure, write and read what these regular expressions match ("" is
// nothing), in this virtual host only. The user has a password, and is removed when the test ends.
func (v *Vhost) AddUser(configure, write, read string) (url, user, password string) {
	t := v.broker.t
	t.Helper()
	user, password = "user-"+randomHex(), "secret-"+randomHex()
	v.broker.api(http.MethodPut, "/users/"+user, map[string]string{"password": password, "tags": ""}, nil)
	t.Cleanup(func() { v.broker.api(http.MethodDelete, "/users/"+user, nil, nil) })
	v.broker.api(http.MethodPut, "/permissions/"+v.Name+"/"+user, map[string]string{
		"configure": configure, "write": write, "read": read,
	}, nil)
	return fmt.Sprintf("amqp://%s:%s@localhost:%d/%s", user, password, v.broker.node.AMQPPort, v.Name), user, password
}

// Version returns the broker's version, such as "4.3.6".
func (b *Broker) Version() string {
	b.t.Helper()
	var overview struct {
		Version string `json:"rabbitmq_version"`
	}
	b.api(http.MethodGet, "/overview?disable_stats=true", nil, &overview)
	return overview.Version
}

// api is API, and fails the test on an error. For up to 5 s it repeats a GET that failed with status
// 500: RabbitMQ 3.10 now and then answers so while a connection or a queue that it reports goes away.
func (b *Broker) api(method, path string, request, response any) {
	b.t.Helper()
	err := API(b.ManagementURL(), method, path, request, response)
	for try := 0; try < 50 && method == http.MethodGet && errors.Is(err, errServer); try++ {
		time.Sleep(100 * time.Millisecond)
		err = API(b.ManagementURL(), method, path, request, response)
	}
	if err != nil {
		b.t.Fatalf("management API: %s %s: %v", method, path, err)
	}
}

var errServer = errors.New("500 Internal Server Error")

// API sends a request to the management API at this URL, which has the credentials. Give the path
// without "/api", and request and response as values for JSON, or nil. Any status but success is an
// error.
func API(management, method, path string, request, response any) error {
	var body bytes.Buffer
	if request != nil {
		if err := json.NewEncoder(&body).Encode(request); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, management+"/api"+path, &body)
	if err != nil {
		return errors.New("the URL of the management API is not a URL") // the cause repeats the password
	}
	req.Header.Set("Content-Type", "application/json")
	// Keep no connections: a test that looks for leaked goroutines would find them.
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusInternalServerError:
		return fmt.Errorf("%w: %s", errServer, text)
	case resp.StatusCode >= 300:
		return fmt.Errorf("%s: %s", resp.Status, text)
	case response == nil:
		return nil
	}
	return json.Unmarshal(text, response)
}
