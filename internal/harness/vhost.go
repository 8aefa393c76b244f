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

	amqp "github.com/rabbitmq/amqp091-go"
)

// Vhost is a virtual host that belongs to one test.
type Vhost struct {
	Name string
	URL  string // the AMQP URL of this virtual host, with guest's credentials

	broker *Broker
	users  []string // who may use it
}

// NewVhost makes a virtual host on the broker that all tests share, and removes it with all
// that is in it when the test ends.
func NewVhost(t testing.TB) *Vhost {
	t.Helper()
	v := SharedBroker(t).NewVhost()
	t.Cleanup(func() {
		v.api(http.MethodDelete, "/vhosts/"+v.Name, nil, nil)
	})
	return v
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9]+`)

// NewVhost makes a virtual host on this broker. It stays as long as the broker does.
func (b *Broker) NewVhost() *Vhost {
	b.t.Helper()
	// The test's name in it tells a reader of the broker's log or console whose it is.
	name := strings.Trim(notInName.ReplaceAllString(b.t.Name(), "-"), "-")
	if len(name) > 60 {
		name = name[:60]
	}
	name += "-" + randomHex()
	v := &Vhost{
		Name:   name,
		URL:    b.URL() + name,
		broker: b,
	}
	v.api(http.MethodPut, "/vhosts/"+name, struct{}{}, nil)
	v.SetPermissions("guest", ".*", ".*", ".*")
	return v
}

// Queue is what a queue holds.
type Queue struct {
	Ready     int // messages waiting to be delivered
	Unacked   int // messages delivered and not yet acknowledged
	Consumers int
}

// Queue returns what the queue holds now; the test ends when there is no such queue. Ready and
// Consumers are exact. Unacked is as old as the broker's own figures, up to a second or so:
// wait for it with Eventually.
func (v *Vhost) Queue(name string) Queue {
	t := v.broker.t
	t.Helper()
	q, err := v.declarePassive(name)
	if err != nil {
		t.Fatalf("queue %q: %v", name, err)
	}
	// Without the statistics, which are several seconds old, the totals come straight from
	// the queues' own counters.
	var queues []struct {
		Name    string `json:"name"`
		Unacked int    `json:"messages_unacknowledged"`
	}
	v.api(http.MethodGet, "/queues/"+v.Name+"?disable_stats=true&enable_queue_totals=true", nil, &queues)
	result := Queue{Ready: q.Messages, Consumers: q.Consumers}
	for _, queue := range queues {
		if queue.Name == name {
			result.Unacked = queue.Unacked
		}
	}
	return result
}

// HasQueue says whether there is such a queue.
func (v *Vhost) HasQueue(name string) bool {
	t := v.broker.t
	t.Helper()
	_, err := v.declarePassive(name)
	if refused := (*amqp.Error)(nil); errors.As(err, &refused) && refused.Code == amqp.NotFound {
		return false
	}
	if err != nil {
		t.Fatalf("queue %q: %v", name, err)
	}
	return true
}

// declarePassive asks for a queue without making it, on a connection of its own: a queue that
// is not there costs the channel.
func (v *Vhost) declarePassive(name string) (amqp.Queue, error) {
	conn, err := amqp.DialConfig(v.URL, amqp.Config{Dial: amqp.DefaultDial(30 * time.Second)})
	if err != nil {
		return amqp.Queue{}, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return amqp.Queue{}, err
	}
	return ch.QueueDeclarePassive(name, true, false, false, false, nil)
}

// Queues returns the names of all queues.
func (v *Vhost) Queues() []string {
	v.broker.t.Helper()
	return v.names("queues")
}

// Describe fills things, a pointer to a slice of structs, with what the management API tells of the
// virtual host's "queues", "exchanges" or "bindings".
func (v *Vhost) Describe(what string, things any) {
	v.broker.t.Helper()
	v.api(http.MethodGet, "/"+what+"/"+v.Name+"?disable_stats=true", nil, things)
}

// Exchanges returns the names of all exchanges but the predeclared ones.
func (v *Vhost) Exchanges() []string {
	v.broker.t.Helper()
	var names []string
	for _, name := range v.names("exchanges") {
		if name != "" && !strings.HasPrefix(name, "amq.") {
			names = append(names, name)
		}
	}
	return names
}

// DeleteQueue deletes a queue with its messages. Its consumers are cancelled.
func (v *Vhost) DeleteQueue(name string) {
	v.broker.t.Helper()
	v.api(http.MethodDelete, "/queues/"+v.Name+"/"+url.PathEscape(name), nil, nil)
}

// Connections returns how many connections clients have to this virtual host.
func (v *Vhost) Connections() int {
	v.broker.t.Helper()
	n := 0
	for _, user := range v.users {
		var connections []struct {
			Vhost string `json:"vhost"`
		}
		v.api(http.MethodGet, "/connections/username/"+user, nil, &connections)
		for _, connection := range connections {
			if connection.Vhost == v.Name {
				n++
			}
		}
	}
	return n
}

// CloseConnections has the broker close all connections to this virtual host, with
// CONNECTION_FORCED and the reason given.
func (v *Vhost) CloseConnections(reason string) {
	v.broker.t.Helper()
	v.broker.Ctl("close_all_connections", "--vhost", v.Name, reason)
}

// SetPolicy gives the queues whose names match the pattern a policy such as
// {"delivery-limit": 3}.
func (v *Vhost) SetPolicy(name, pattern string, definition map[string]any) {
	v.broker.t.Helper()
	v.api(http.MethodPut, "/policies/"+v.Name+"/"+url.PathEscape(name), map[string]any{
		"pattern": pattern, "definition": definition, "apply-to": "queues",
	}, nil)
}

// AddUser makes a user who has these permissions (regular expressions, see SetPermissions) in
// this virtual host and none elsewhere, and returns the AMQP URL for them, with a password that
// is theirs alone. The user is removed when the test ends.
func (v *Vhost) AddUser(configure, write, read string) string {
	t := v.broker.t
	t.Helper()
	user, password := "user-"+randomHex(), "secret-"+randomHex()
	v.api(http.MethodPut, "/users/"+user, map[string]string{"password": password, "tags": ""}, nil)
	if v.broker.shared {
		t.Cleanup(func() { v.api(http.MethodDelete, "/users/"+user, nil, nil) })
	}
	v.SetPermissions(user, configure, write, read)
	return fmt.Sprintf("amqp://%s:%s@localhost:%d/%s", user, password, v.broker.node.AMQPPort, v.Name)
}

// SetPermissions says what a user may configure, write and read here: regular expressions for
// the names of queues and exchanges; "" allows nothing.
func (v *Vhost) SetPermissions(user, configure, write, read string) {
	v.broker.t.Helper()
	v.api(http.MethodPut, "/permissions/"+v.Name+"/"+url.PathEscape(user), map[string]string{
		"configure": configure, "write": write, "read": read,
	}, nil)
	if !slices.Contains(v.users, user) {
		v.users = append(v.users, user)
	}
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

func (v *Vhost) names(what string) []string {
	v.broker.t.Helper()
	var things []struct {
		Name string `json:"name"`
	}
	v.Describe(what, &things)
	names := make([]string, len(things))
	for i, thing := range things {
		names[i] = thing.Name
	}
	return names
}

func (v *Vhost) api(method, path string, request, response any) {
	v.broker.t.Helper()
	v.broker.api(method, path, request, response)
}

// No connections are kept: a test that looks for leaked goroutines would find them.
var client = http.Client{
	Timeout:   20 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// api makes a request of the management API; request and response are JSON, or nil.
//
// It asks a question again, up to 5 s, where the API fails with status 500: RabbitMQ 3.10 now and then
// does so while a connection or a queue that it is to tell of goes away.
func (b *Broker) api(method, path string, request, response any) {
	b.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := b.tryAPI(method, path, request, response)
		if err == nil {
			return
		}
		if method != http.MethodGet || !errors.Is(err, errServer) || time.Now().After(deadline) {
			b.t.Fatalf("management API: %s %s: %v", method, path, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

var errServer = errors.New("500 Internal Server Error")

func (b *Broker) tryAPI(method, path string, request, response any) error {
	var body io.Reader
	if request != nil {
		encoded, err := json.Marshal(request)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, b.ManagementURL()+"/api"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusInternalServerError {
		return fmt.Errorf("%w: %s", errServer, text)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	if response == nil {
		return nil
	}
	return json.Unmarshal(text, response)
}
