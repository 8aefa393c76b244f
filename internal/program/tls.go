package program

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

var errTLSFile = errors.New("the URL names no usable certificate")

// checkTLSFiles returns an error if a file that one of the URLs names for TLS cannot be used.
// amqp091-go would ignore a CA file without a certificate, and half of a client certificate.
// See https://www.rabbitmq.com/docs/uri-query-parameters.
func checkTLSFiles(urls string) error {
	for url := range strings.SplitSeq(urls, ",") {
		uri, err := amqp.ParseURI(url)
		if err != nil || uri.Scheme != "amqps" {
			continue // whoever connects reports a wrong URL
		}
		if uri.CACertFile != "" {
			ca, err := os.ReadFile(uri.CACertFile)
			if err == nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
				err = errors.New("no PEM certificate in it")
			}
			if err != nil {
				return fmt.Errorf("%w: cacertfile %q: %w", errTLSFile, uri.CACertFile, err)
			}
		}
		if uri.CertFile != "" || uri.KeyFile != "" {
			if _, err := tls.LoadX509KeyPair(uri.CertFile, uri.KeyFile); err != nil {
				return fmt.Errorf("%w: certfile %q and keyfile %q: %w", errTLSFile, uri.CertFile, uri.KeyFile, err)
			}
		}
	}
	return nil
}
