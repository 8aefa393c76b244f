// Package program is the skeleton that the tutorial's programs share: flags and
// usage, Ctrl+C, the exit status, and lines that are safe to print.
package program

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultURL = "amqp://guest:guest@localhost:5672/"

	// patience is how long a program may take to end before it tells the user why
	// it has not ended yet.
	patience = 500 * time.Millisecond
)

// Usage is what -h prints.
type Usage struct {
	Purpose string // one sentence
	Args    string // "" for none, in brackets if they may be left out: "[WORD...]"
	Example string
}

// A Program is a command line: declare flags on it, then call Main.
type Program struct {
	*flag.FlagSet
	usage Usage
	url   string
}

// New returns a program with the flag -url.
func New(usage Usage) *Program {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	p := &Program{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), usage: usage}
	p.StringVar(&p.url, "url", "", "the broker's `URL`, or several with commas between them (default $AMQP_URL, else "+defaultURL+")")
	p.FlagSet.Usage = func() {
		fmt.Fprintf(p.Output(), "%s\n\nUsage:\n  %s\n\nFlags:\n", usage.Purpose, strings.TrimSpace(name+" [flags] "+usage.Args))
		p.PrintDefaults()
		fmt.Fprintf(p.Output(), "\nExample:\n  %s\n", usage.Example)
	}
	return p
}

// PrefetchVar declares the flag -prefetch, a number of messages from 0 to 65535.
func (p *Program) PrefetchVar(prefetch *int, value int, usage string) {
	*prefetch = value
	p.Func("prefetch", fmt.Sprintf("%s (default %d)", usage, value), func(s string) error {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return errors.New("want a whole number from 0 to 65535")
		}
		*prefetch = int(n)
		return nil
	})
}

// errUsage marks an error that the user can mend on the command line.
type errUsage struct{ error }

// Usagef makes an error for wrong arguments. If run returns it, Main prints it with the usage
// and exits with status 2.
func Usagef(format string, args ...any) error { return errUsage{fmt.Errorf(format, args...)} }

// Main parses the command line, calls run with the broker's URL and the positional
// arguments, and exits: with 0 after success, after -h, and when the user stopped the
// program; with 1 after a failure, which it prints in one line on stderr; with 2 after
// wrong usage.
//
// The first Ctrl+C or SIGTERM ends the context, the second one the process. So run must
// return soon after its context has ended.
func (p *Program) Main(run func(ctx context.Context, url string, args []string) error) {
	log.SetFlags(0)
	log.SetOutput(printable{os.Stderr}) // a line may repeat text from somewhere else
	log.SetPrefix(" [!] ")
	os.Exit(p.main(run))
}

func (p *Program) main(run func(ctx context.Context, url string, args []string) error) int {
	if err := p.parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return p.wrongUsage(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() {
		stop() // from here on a signal ends the process
		time.AfterFunc(patience, func() {
			log.Print("finishing what is in hand; press CTRL+C again to leave at once")
		})
	})()

	err := checkTLSFiles(p.url)
	if err == nil {
		err = run(ctx, p.url, p.Args())
	}
	var usage errUsage
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		return p.wrongUsage(err)
	case ctx.Err() != nil:
		log.Print("stopped: ", describe(err)) // the user knows why, and needs no advice
		return 0
	default:
		log.Print(explain(err))
		return 1
	}
}

// parse reads the flags and checks the number of arguments.
func (p *Program) parse(args []string) error {
	p.SetOutput(new(strings.Builder)) // Main prints the errors
	err := p.FlagSet.Parse(args)
	p.SetOutput(os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		p.SetOutput(os.Stdout)
		p.Usage()
		return err
	case err != nil:
		return p.explainValue(err)
	case p.usage.Args == "" && p.NArg() > 0:
		// The argument is not repeated: it may be a URL with a password, meant for -url.
		return errors.New("this program takes no arguments, only flags")
	case p.usage.Args != "" && p.usage.Args[0] != '[' && p.NArg() == 0:
		return fmt.Errorf("missing argument: %s", p.usage.Args)
	}
	p.VisitAll(func(f *flag.Flag) { // no time may be negative
		if d, ok := f.Value.(flag.Getter); ok && err == nil {
			if d, ok := d.Get().(time.Duration); ok && d < 0 {
				err = fmt.Errorf("-%s must not be negative", f.Name)
			}
		}
	})
	if err != nil {
		return err
	}
	p.url = cmp.Or(p.url, os.Getenv("AMQP_URL"), defaultURL)
	return nil
}

// explainValue says what value a flag takes if package flag says only "parse error".
func (p *Program) explainValue(err error) error {
	if strings.Contains(err.Error(), "://") {
		return errors.New("a URL is not what this flag wants; it belongs behind -url") // it may hold a password
	}
	said, vague := strings.CutSuffix(err.Error(), "parse error")
	p.VisitAll(func(f *flag.Flag) {
		if vague && strings.HasSuffix(said, "-"+f.Name+": ") {
			err = fmt.Errorf("%swant something like %s", said, f.DefValue)
		}
	})
	return err
}

func (p *Program) wrongUsage(err error) int {
	log.Print(err)
	p.Usage()
	return 2
}

// CheckKeys returns an error for wrong arguments if a routing or binding key is longer
// than AMQP's 255 bytes.
func CheckKeys(keys ...string) error {
	for _, key := range keys {
		if len(key) > 255 {
			return Usagef("%.20q... is %d bytes long; a routing key has at most 255", key, len(key))
		}
	}
	return nil
}

// Numbers reads arguments that are whole numbers. It returns 30 if there are none.
func Numbers(args []string) ([]int, error) {
	if len(args) == 0 {
		return []int{30}, nil
	}
	numbers := make([]int, len(args))
	for i, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil { // the argument is not repeated: see parse
			return nil, Usagef("argument %d is not a whole number that fits here", i+1)
		}
		numbers[i] = n
	}
	return numbers, nil
}
