package readme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// A place is where a reader sits: a folder with the repository, and a broker.
type place struct {
	dir   string
	env   []string
	names []string // pairs: what the programs print here, and what the page shows for it
	api   string   // the management API of the place's own broker
}

// Places are where the sections are read. A section that uses make needs a broker of its own, like the one
// that make up starts. Two places have one, for one section after the other, and one place may have a cluster.
// While the cluster runs, only one of the two is in use: more nodes at once start more slowly than the pages show.
// The other sections have virtual hosts of their own on the broker of all tests, several sections at a time.
type places struct{ own, cluster, shared chan *place }

func openPlaces(t *testing.T) places {
	p := places{make(chan *place, 2), make(chan *place, 1), make(chan *place, 8)}
	free, err := broker.FreePorts(2 * (cap(p.own) + cap(p.cluster)))
	check(t, err)
	for i := range free {
		free[i]++ // no broker of another test takes the port behind a free one, before a section wants it
	}
	for i := range cap(p.own) + cap(p.cluster) {
		parent := fmt.Sprintf("%s-reader%d", os.Getenv("TEST_BROKER"), i) // see removeLeft in scripts/broker
		at := newPlace(t, parent)
		ports := free[2*i:]
		at.env = append(at.env, fmt.Sprintf("AMQP_URL=amqp://guest:guest@localhost:%d/", ports[0]),
			fmt.Sprintf("MANAGEMENT_PORT=%d", ports[1]), "AMQP_PORT=", "BROKER=native", "UNIT=1s")
		at.names = []string{parent, "…"}
		for node := range 3 {
			at.names = append(at.names, fmt.Sprint(":", ports[0]+node), fmt.Sprint(":", 5672+node),
				fmt.Sprint(":", ports[1]+node), fmt.Sprint(":", 15672+node))
		}
		at.api = fmt.Sprintf("http://guest:guest@localhost:%d", ports[1])
		t.Cleanup(func() {
			at.destroy(t)
			check(t, os.RemoveAll(parent))
		})
		if i < cap(p.own) {
			p.own <- at
			continue
		}
		at.env = append(at.env, fmt.Sprint("AMQP_PORT=", ports[0]), fmt.Sprintf("AMQP_URL=amqp://guest:guest@localhost:%d/,"+
			"amqp://guest:guest@localhost:%d/,amqp://guest:guest@localhost:%d/", ports[0], ports[0]+1, ports[0]+2))
		p.cluster <- at
	}
	at := newPlace(t, t.TempDir())
	at.env = append(at.env, "UNIT=3s") // on a busy machine, a worker must still be at work when its Ctrl+C comes
	for range cap(p.shared) {
		p.shared <- at
	}
	return p
}

// newPlace makes a folder with what the commands need of the repository, and a shell environment for it.
func newPlace(t *testing.T, parent string) *place {
	dir := filepath.Join(parent, "rabbitmq-tutorial")
	for _, name := range []string{"Makefile", "docker-compose.yml", "internal/amqpx", "internal/socket"} {
		target := filepath.Join(dir, filepath.Dir(name))
		check(t, os.MkdirAll(target, 0o755))
		check(t, exec.Command("cp", "-r", filepath.Join(root, name), target).Run())
	}
	testdata, err := filepath.Abs("testdata")
	check(t, err)
	// In testdata is the go that takes the built programs.
	return &place{dir: dir, env: append(os.Environ(), "PATH="+testdata+":"+os.Getenv("PATH"), "MAKELEVEL=", "MAKEFLAGS=")}
}

// RabbitMQ cuts a long error, which a virtual host with a longer name makes longer still.
var ownBroker = regexp.MustCompile(`(?m)^make (up|down|kill|ctl)\b|vhost '/'`)

func needOwnBroker(blocks []*block) bool {
	return slices.ContainsFunc(blocks, func(b *block) bool { return ownBroker.MatchString(b.commands + b.outputs[0].text) })
}

// take waits for a place, and prepares it for a reader of some lesson. The test gives it back at its end.
func (p places) take(t *testing.T, lesson int, blocks []*block) *place {
	free := p.shared
	if strings.HasPrefix(blocks[0].commands, "make up-cluster\n") {
		free = p.cluster
	} else if needOwnBroker(blocks) {
		free = p.own
	}
	at := <-free
	t.Cleanup(func() { free <- at })
	if free == p.cluster {
		other := <-p.own
		t.Cleanup(func() { p.own <- other })
	}
	t.Cleanup(func() { // before it gives the places back
		if t.Failed() && free == p.own || free == p.cluster { // who knows in which state the section has left its broker
			at.destroy(t)
		}
	})
	if free == p.cluster {
		return at
	}
	if free == p.own {
		at.prepare(t, lesson, strings.HasPrefix(blocks[0].commands, "make up\n"))
		return at
	}
	vhost := harness.NewVhost(t)
	u, err := url.Parse(vhost.URL)
	check(t, err)
	return &place{dir: at.dir, env: append(slices.Clip(at.env), "AMQP_URL="+vhost.URL),
		names: []string{"/" + vhost.Name, "/", ":" + u.Port(), ":5672"}}
}

// declared are the queues that the lessons leave on the broker, as far as a later listing shows them.
var declared = map[int]string{1: "hello", 2: "task_queue"}

// prepare gives the place the broker that a reader of this lesson has: none before make up.
func (at *place) prepare(t *testing.T, lesson int, none bool) {
	if none {
		at.destroy(t)
		return
	}
	if !at.node(t).Running() {
		at.open(t, &block{commands: "make up"}, &output{}).awaitEnd()
	}
	everything := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	check(t, harness.API(at.api, http.MethodDelete, "/vhosts/%2F", nil, nil))
	check(t, harness.API(at.api, http.MethodPut, "/vhosts/%2F", nil, nil))
	check(t, harness.API(at.api, http.MethodPut, "/permissions/%2F/guest", everything, nil))
	ch := harness.Channel(t, at.node(t).URL())
	for of, queue := range declared {
		if of < lesson {
			harness.DeclareQueue(t, ch, queue)
		}
	}
}

func (at *place) node(t *testing.T) *broker.Node {
	t.Helper()
	node, err := broker.Open(broker.Config{Dir: filepath.Join(at.dir, ".broker", "tutorial")})
	check(t, err)
	return node
}

func (at *place) destroy(t *testing.T) {
	t.Helper()
	node := at.node(t)
	cluster, err := broker.OpenCluster(broker.Config{Dir: node.Dir})
	check(t, err)
	check(t, errors.Join(node.Destroy(context.Background()), cluster.Destroy(context.Background())))
}

// leader returns the number of the node that leads task_queue.
func (at *place) leader(t *testing.T) string {
	t.Helper()
	var queue struct{ Leader string }
	check(t, harness.API(at.api, http.MethodGet, "/queues/%2F/task_queue", nil, &queue))
	name, _, _ := strings.Cut(queue.Leader, "@")
	return strings.TrimPrefix(name, "tutorial-")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
