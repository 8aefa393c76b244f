package harness_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

func TestVhostIsMadeAndRemoved(t *testing.T) {
	t.Parallel()
	shared := harness.SharedBroker(t)
	var url string
	t.Run("inside", func(t *testing.T) {
		url = harness.NewVhost(t).URL
		harness.Channel(t, url)
	})
	conn, err := amqp.Dial(url)
	if err == nil {
		conn.Close()
		t.Fatal("the virtual host outlived its test")
	}
	if shared.Version() == "" {
		t.Error("the broker has no version")
	}
}

func TestVhostsAreApart(t *testing.T) {
	t.Parallel()
	one, other := harness.NewVhost(t), harness.NewVhost(t)
	harness.DeclareQueue(t, harness.Channel(t, one.URL), "hello")
	if !one.HasQueue("hello") || other.HasQueue("hello") {
		t.Errorf("hello is in its own virtual host: %v, in another one: %v", one.HasQueue("hello"), other.HasQueue("hello"))
	}
}

func TestQueueFigures(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			vhost := harness.NewVhost(t)
			ch := harness.Channel(t, vhost.URL)
			if _, err := ch.QueueDeclare("hello", true, false, false, false, amqp.Table{amqp.QueueTypeArg: kind}); err != nil {
				t.Fatal(err)
			}
			harness.Publish(t, ch, "", "hello", harness.Numbered("m", 5)...)
			if got, want := vhost.Queue("hello"), (harness.Queue{Ready: 5}); got != want {
				t.Errorf("published: %+v, want %+v", got, want)
			}

			deliveries := harness.Consume(t, ch, "hello", 2)
			<-deliveries
			<-deliveries
			harness.Eventually(t, 10*time.Second, "2 unacknowledged, 3 ready", func() bool {
				return vhost.Queue("hello") == harness.Queue{Ready: 3, Unacked: 2, Consumers: 1}
			})

			if got := vhost.Queues(); !slices.Equal(got, []string{"hello"}) {
				t.Errorf("queues: %q", got)
			}
			vhost.DeleteQueue("hello")
			if _, open := <-deliveries; open {
				t.Error("a delivery from a queue that was deleted")
			}
			if vhost.HasQueue("hello") {
				t.Error("the queue is still there")
			}
		})
	}
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	harness.DeclareExchange(t, harness.Channel(t, vhost.URL), "logs", "fanout")
	if got := vhost.Exchanges(); !slices.Equal(got, []string{"logs"}) {
		t.Errorf("exchanges: %q", got)
	}
}

func TestCloseConnections(t *testing.T) {
	t.Parallel()
	vhost, other := harness.NewVhost(t), harness.NewVhost(t)
	ch, bystander := harness.Channel(t, vhost.URL), harness.Channel(t, other.URL)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	harness.Eventually(t, 5*time.Second, "one connection", func() bool { return vhost.Connections() == 1 })

	vhost.CloseConnections("a test wants it")

	if err := <-closed; err == nil || err.Code != amqp.ConnectionForced {
		t.Errorf("closed with %v, want CONNECTION_FORCED", err)
	}
	harness.Eventually(t, 5*time.Second, "no connection", func() bool { return vhost.Connections() == 0 })
	if bystander.IsClosed() {
		t.Error("a connection to another virtual host was closed as well")
	}
}

func TestPolicyDropsMessages(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	ch := harness.Channel(t, vhost.URL)
	harness.DeclareQueue(t, ch, "hello")
	vhost.SetPolicy("short", "^hello$", map[string]any{"max-length": 1})
	harness.Eventually(t, 10*time.Second, "only one message kept", func() bool {
		harness.Publish(t, ch, "", "hello", "one", "two")
		return vhost.Queue("hello").Ready == 1
	})
}

func TestUserHasOnlyItsPermissions(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	ch := harness.Channel(t, vhost.AddUser("^mine$", ".*", ".*"))
	harness.DeclareQueue(t, ch, "mine")
	_, err := ch.QueueDeclare("yours", true, false, false, false, nil)
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != amqp.AccessRefused {
		t.Errorf("declared a queue that it may not: %v", err)
	}
	harness.Eventually(t, 5*time.Second, "its connection counts", func() bool { return vhost.Connections() == 1 })
}

func TestBrokerKeepsPersistentMessages(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	vhost := broker.NewVhost()
	ch := harness.Channel(t, vhost.URL)
	harness.DeclareQueue(t, ch, "hello")
	harness.Publish(t, ch, "", "hello", "Hello World!")
	broker.SaveQueues()
	lost := ch.NotifyClose(make(chan *amqp.Error, 1))

	broker.Kill()
	if err := <-lost; err == nil {
		t.Error("the connection ended in order, though the broker was killed")
	}
	broker.Up()
	harness.Eventually(t, 10*time.Second, "the message is there", func() bool {
		return vhost.Queue("hello").Ready == 1
	})

	broker.Stop()
	if conn, err := amqp.Dial(broker.URL()); err == nil {
		conn.Close()
		t.Error("a stopped broker answers")
	}
	broker.Up()
	harness.Eventually(t, 10*time.Second, "the message is still there", func() bool {
		return vhost.Queue("hello").Ready == 1
	})
}

func TestPausedBrokerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	broker := harness.StartBroker(t)
	answers := func() bool {
		conn, err := amqp.DialConfig(broker.URL(), amqp.Config{Dial: amqp.DefaultDial(500 * time.Millisecond)})
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	broker.Pause()
	if answers() {
		t.Error("a paused broker answers")
	}
	broker.Resume()
	harness.Eventually(t, 5*time.Second, "the broker answers again", answers)
}

func TestBrokerSpeaksTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := writeCertificate(t, dir)
	broker := harness.StartBroker(t, harness.TLS(dir), harness.Config("heartbeat = 7"))
	conn, err := amqp.DialTLS("amqps://guest:guest@"+broker.TLSAddress()+"/", &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Config.Heartbeat != 7*time.Second {
		t.Errorf("heartbeat %v: the configuration is not in force", conn.Config.Heartbeat)
	}
	if dial := broker.Ctl("-q", "list_vhosts"); !bytes.Contains([]byte(dial), []byte("/")) {
		t.Errorf("rabbitmqctl list_vhosts: %q", dial)
	}
}

// writeCertificate makes a certificate for localhost that is its own authority.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{
		"ca.pem":   certPEM,
		"cert.pem": certPEM,
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return roots
}
