package faults_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"rabbitmq-tutorial/internal/broker"
	"rabbitmq-tutorial/internal/harness"
)

// The broker has a certificate, and asks its clients for one.
func TestTLSWorksAndItsFailuresSayWhy(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "our CA"), newAuthority(t, "another CA")
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ours.issue(path("cert.pem"), path("key.pem"), later) // the broker's
	ours.issue(path("client.pem"), path("client-key.pem"), later)
	ours.issue(path("expired.pem"), path("expired-key.pem"), before)
	theirs.issue(path("stranger.pem"), path("stranger-key.pem"), later)
	writePEM(t, path("ca.pem"), "CERTIFICATE", ours.cert.Raw)
	writePEM(t, path("other-ca.pem"), "CERTIFICATE", theirs.cert.Raw)
	if err := os.WriteFile(path("garbage.pem"), []byte("no certificate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	node := harness.StartBroker(t, func(c *broker.Config) {
		c.TLS = dir // with ca.pem, cert.pem and key.pem
		c.Lines = append(c.Lines, "ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = true")
	})

	port := fmt.Sprint(":", node.TLSPort())
	plainPort := ":" + parseURL(t, node.URL()).Port()
	query := func(ca, cert, key string) string {
		values := url.Values{}
		for name, file := range map[string]string{"cacertfile": ca, "certfile": cert, "keyfile": key} {
			if file != "" {
				values.Set(name, path(file))
			}
		}
		return "/?" + values.Encode()
	}
	good := query("ca.pem", "client.pem", "client-key.pem")

	t.Run("works", func(t *testing.T) {
		url := "amqps://guest:guest@localhost" + port + good
		direct := harness.Channel(t, node.URL())
		var running []*harness.Process
		for _, c := range harness.Consumers() {
			p := c.Start(t, url)
			deliver(t, direct, c, p, "1")
			running = append(running, p)
		}
		for _, program := range append(harness.Publishers(), "rpc_client") {
			harness.Run(t, url, 0, program)
		}
		harness.Run(t, url, 0, "publisher_confirms", "-n=10")
		for _, p := range running {
			p.Stop()
		}
	})

	// Of two brokers, one is not the host that its certificate is for. Sixteen programs, so that some
	// begin with either.
	t.Run("checks the name of the host that it reaches", func(t *testing.T) {
		told := 0
		for range 16 {
			p := harness.Run(t, "amqps://guest:guest@127.0.0.1"+port+good+",amqps://guest:guest@localhost"+port+good, 0, "send")
			for _, line := range p.Stderr() {
				told++
				if !strings.HasPrefix(line, " [!] connect to amqps://127.0.0.1") || !strings.Contains(line, "certificate") {
					t.Errorf("send printed %q", line)
				}
			}
		}
		if told == 0 || told == 16 {
			t.Errorf("%d of 16 programs began with the wrong host", told)
		}
	})

	refused := func(name, url, want, advice string) {
		t.Run(name, func(t *testing.T) {
			for _, program := range []string{"send", "receive"} {
				line := harness.WantFailure(t, harness.Start(t, url, program))
				t.Log(line)
				if !strings.Contains(line, want) || !strings.Contains(line, advice) || strings.Contains(line, "guest") {
					t.Errorf("%s printed %q, want %q and %q", program, line, want, advice)
				}
			}
		})
	}
	amqps := "amqps://guest:guest@localhost" + port
	const nameCA = "name its file: amqps://...?cacertfile=ca.pem"
	const nameFiles = "Check the PEM files in AMQP_URL or -url: amqps"
	const nameCert = "a client certificate if it wants one: amqps://...?cacertfile=ca.pem&certfile=client.pem&keyfile=client-key.pem"
	refused("no CA", amqps+query("", "client.pem", "client-key.pem"), "certificate signed by unknown authority", nameCA)
	refused("another CA", amqps+query("other-ca.pem", "client.pem", "client-key.pem"), "certificate signed by unknown authority", nameCA)
	refused("another host name", "amqps://guest:guest@127.0.0.1"+port+good, "127.0.0.1", "Use the host name")
	refused("turning verification off", amqps+query("", "client.pem", "client-key.pem")+"&verify=verify_none", "certificate signed by unknown authority", nameCA)
	// The broker refuses a client after the handshake. Its reason arrives, unless
	// the reset of the connection is faster.
	refused("no client certificate", amqps+query("ca.pem", "", ""), "", nameCert)
	refused("client certificate of another CA", amqps+query("ca.pem", "stranger.pem", "stranger-key.pem"), "", nameCert)
	refused("expired client certificate", amqps+query("ca.pem", "expired.pem", "expired-key.pem"), "", nameCert)
	refused("client certificate without key", amqps+query("ca.pem", "client.pem", ""), "client.pem", nameFiles)
	refused("key of another certificate", amqps+query("ca.pem", "client.pem", "expired-key.pem"), "private key does not match", nameFiles)
	refused("no CA file in the second of two", amqps+good+","+amqps+query("nowhere.pem", "", ""), "nowhere.pem: no such file", nameFiles)
	refused("no CA file", amqps+query("nowhere.pem", "client.pem", "client-key.pem"), "nowhere.pem: no such file", nameFiles)
	refused("garbage as CA file", amqps+query("garbage.pem", "client.pem", "client-key.pem"), "garbage.pem\": no PEM certificate in it", nameFiles)
	refused("garbage as certificate", amqps+query("ca.pem", "garbage.pem", "client-key.pem"), "failed to find any PEM data in certificate input", nameFiles)
	refused("garbage as key", amqps+query("ca.pem", "client.pem", "garbage.pem"), "failed to find any PEM data in key input", nameFiles)
	refused("amqp to the TLS port", "amqp://guest:guest@localhost"+port, "connect to amqp://localhost", "where it speaks TLS, write amqps://")
	refused("amqps to the plain port", "amqps://guest:guest@localhost"+plainPort+good, "does not look like a TLS handshake", "where it does not, write amqp://")

	ours.issue(path("cert.pem"), path("key.pem"), before)
	node.Ctl("eval", "ssl:clear_pem_cache().")
	refused("expired certificate", amqps+good, "certificate has expired", "The broker needs another certificate")
}

// The broker refuses the log-in of a consumer that comes back. That ends the consumer, after some
// tries, and nothing shows the password.
func TestPasswordIsChangedMeanwhile(t *testing.T) {
	t.Parallel()
	vhost := harness.NewVhost(t)
	url, user, password := vhost.AddUser(".*", ".*", ".*")
	n := newNetwork(t, vhost.URL)
	p := harness.StartConsumer(t, n.through(url, ""), "receive")
	if runtime.GOOS == "linux" {
		title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Pid()))
		if err != nil || strings.Contains(string(title), password) {
			t.Errorf("its title is %q, %v", title, err)
		}
	}
	n.down()
	p.Await("connection lost: ")
	harness.SharedBroker(t).Ctl("change_password", user, "another")
	n.up()
	p.Await("/" + vhost.Name + ": username or password not allowed; connecting again") // at the broker's address
	p.Await("Check the user name and the password in AMQP_URL or -url")
	p.Exits(1)
	if strings.Contains(p.Output(), password) {
		t.Errorf("the password is in the output:\n%s", p.Output())
	}
}

// An authority issues certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	})
	return a
}

// sign signs a certificate; the authority signs its own.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	issuer, issuerKey := a.cert, a.key
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue writes a certificate for localhost and for clients, valid until notAfter, and its key.
func (a *authority) issue(certFile, keyFile string, notAfter time.Time) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		DNSNames:    []string{"localhost"},
		NotAfter:    notAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	writePEM(a.t, certFile, "CERTIFICATE", cert.Raw)
	writePEM(a.t, keyFile, "PRIVATE KEY", der)
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}
