package amqpx

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestNoPasswordIsInTheAddress(t *testing.T) {
	for _, test := range []struct{ url, want string }{ // want "" for an ErrURL
		{"amqp://guest:guest@localhost:5672/", "amqp://localhost:5672/"},
		{"amqps://user:p%40ss%2Fword@broker/vhost", "amqps://broker/vhost"},
		{"amqp://localhost", "amqp://localhost"},
		{"amqp://user@localhost", "amqp://localhost"},
		{"amqp://[::1]:5672/", "amqp://[::1]:5672/"},
		{"amqp://user:pass@localhost/?heartbeat=10", "amqp://localhost/"},
		{"amqps://localhost/%2F?cacertfile=ca.pem", "amqps://localhost/%2F"},
		{"amqp://u:p@ss@localhost/", "amqp://localhost/"},
		{"amqp://localhost/a%40b", "amqp://localhost/a%40b"},

		{"", ""},
		{"localhost", ""},
		{"localhost:5672", ""},
		{"guest:secret@localhost:5672", ""},
		{"http://user:secret@localhost:15672/", ""},
		{"AMQP//user:secret@localhost", ""},
		{"amqp:user:secret@localhost", ""},
		{"amqp://user:secret@localhost:port/", ""},
		{"amqp://user:secret@localhost:0/", ""},
		{"amqp://user:secret@localhost:65536/", ""},
		{"amqp://user:secret@localhost/\n", ""},
		{"amqp://user:sec ret@localhost/", ""},
		{"amqp://user:%zz@localhost/", ""},
		{"amqp://user:secret@localhost/?heartbeat=soon", ""},
		{"amqp://user:12/secret@localhost/", ""},
		{"amqp://user:12?secret@localhost/", ""},
		{"amqp://user:12#secret@localhost/", ""},
		{"amqp://user:12@34/secret@localhost/", ""},
		{"amqp://user:12@34?secret@localhost/", ""},
		{"amqp://user:12@34#secret@localhost/", ""},
		{"amqp://user/secret:34@localhost/", ""},
	} {
		t.Run(test.url, func(t *testing.T) {
			t.Parallel()
			got, _, err := parse(test.url)
			switch {
			case test.want == "" && !errors.Is(err, ErrURL):
				t.Errorf("parse = %q, %v; want ErrURL", got, err)
			case test.want != "" && (got != test.want || err != nil):
				t.Errorf("parse = %q, %v; want %q", got, err, test.want)
			case err != nil && strings.Contains(err.Error(), "ret"):
				t.Errorf("parse = %v: the password is in it", err)
			}
		})
	}
}

// Of several URLs, the malformed one is named by its number: its text may hold a password.
func TestMalformedBrokerIsNamedByItsNumber(t *testing.T) {
	t.Parallel()
	const good = "amqp://localhost/"
	for urls, want := range map[string]string{
		good + ",localhost:5672":            "broker 2 of 2",
		"amqp://u:secret@h:port/," + good:   "broker 1 of 2",
		good + "," + good + ",":             "broker 3 of 3",
		"amqp://user:12,34secret@localhost": "broker 2 of 2", // a comma in a password must be escaped
	} {
		_, err := parseAll(urls)
		if !errors.Is(err, ErrURL) || !strings.HasPrefix(err.Error(), want+": ") || strings.Contains(err.Error(), "secret") {
			t.Errorf("parseAll(%q) = %v, want %s", urls, err, want)
		}
	}
	if all, err := parseAll(good + "," + good); len(all) != 2 || err != nil {
		t.Errorf("two good brokers: %v, %v", all, err)
	}
}

// A proxy resets what it accepts while its broker is down. If the local port, another one each time, were in
// the error, Run would tell every try.
func TestResetDuringTheLogInIsToldWithoutPorts(t *testing.T) {
	t.Parallel()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return // the test is over
			}
			c.Read(make([]byte, 8))       // the protocol header
			c.(*net.TCPConn).SetLinger(0) // Close resets the connection
			c.Close()
		}
	}()
	address := "amqp://" + proxy.Addr().String() + "/"
	all, err := parseAll(address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = all.open(t.Context())
	if want := "connect to " + address + ": the connection broke during the log-in"; err == nil || err.Error() != want {
		t.Errorf("open: %v, want %s", err, want)
	}
}

// No part of a password is printed, whatever characters it has and whether or not they are
// escaped.
func FuzzParseURL(f *testing.F) {
	for _, c := range []string{"", ":", "/", "?", "#", "@", "%", "%2F", "@1/", "@1?", "@1#", "12/", "12@34/56", " ", "\n", "\\", "[", "]", "://", "&", "="} {
		f.Add("user", c, "/")
		f.Add("us"+c+"er", c, "/vhost?heartbeat=5")
	}
	f.Fuzz(func(t *testing.T, user, middle, tail string) {
		const head, foot = "Pq7xPq7x", "Zk9wZk9w" // marks to recognise the password by
		if strings.Contains(tail, "@") {
			return // it would be the tail that has the host
		}
		text, _, err := parse("amqp://" + user + ":" + head + middle + foot + "@localhost:5672" + tail)
		if err != nil {
			text = err.Error()
		}
		if strings.Contains(text, head) || strings.Contains(text, foot) {
			t.Errorf("the password %q is in %q", head+middle+foot, text)
		}
		if err == nil && !strings.Contains(text, "localhost:5672") && !strings.Contains(text, "LOCALHOST:5672") {
			t.Errorf("parse took a part of the password %q for the host: %q", head+middle+foot, text)
		}
	})
}
