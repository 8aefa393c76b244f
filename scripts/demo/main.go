// Demo acts lessons out. It starts the programs that a learner would start in
// several terminals, shows their output together, and checks what each lesson
// claims; a claim that does not hold fails the command.
//
//	go run ./scripts/demo [hello] [workqueue] [pubsub] [routing] [topics] [rpc] [confirms]
//
// It runs on the learner's broker, so that the console shows what happens:
// with MANAGEMENT_URL set, in a virtual host of its own, else in the one that
// AMQP_URL names. What was there before stays as it was. The programs are built into
// the folder .bin.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"rabbitmq-tutorial/internal/harness"
	"rabbitmq-tutorial/internal/program"
)

// A lesson names what its programs declare on the broker, and acts itself out.
type lesson struct {
	name, title       string
	queues, exchanges []string
	act               func(*stage)
}

func lessons() []lesson {
	return []lesson{
		{"hello", "Lesson 1: Hello World", []string{"hello"}, nil, hello},
		{"workqueue", "Lesson 2: Work queues", []string{"task_queue"}, nil, workqueue},
		{"pubsub", "Lesson 3: Publish/subscribe", nil, []string{"logs"}, pubsub},
		{"routing", "Lesson 4: Routing", nil, []string{"direct_logs"}, routing},
		{"topics", "Lesson 5: Topics", nil, []string{"topic_logs"}, topics},
		{"rpc", "Lesson 6: Remote procedure call", []string{"rpc_queue"}, nil, rpc},
		{"confirms", "Lesson 7: Publisher confirms", []string{"publisher_confirms"}, nil, confirms},
	}
}

func main() {
	program.New(program.Usage{
		Purpose: "Acts lessons out, all or the named ones, and checks what they claim.",
		Args:    "[LESSON...]",
		Example: "go run ./scripts/demo hello",
	}).Main(run)
}

func run(ctx context.Context, url string, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if err := harness.Build(".bin"); err != nil {
		return err
	}
	// Whatever ends a demo, it must still put the broker in order: neither a closed
	// terminal nor a reader that is gone (`make demo | head`) may end it on the spot.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()

	err = perform(ctx, url, chosen)
	if ctx.Err() != nil {
		log.Print("interrupted before every claim was checked")
		os.Exit(130) // for Main, it would be a success
	}
	return err
}

// choose returns the lessons with these names, or all of them.
func choose(names []string) ([]lesson, error) {
	all := lessons()
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	for _, l := range all {
		known = append(known, l.name)
	}
	var chosen []lesson
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, program.Usagef("no lesson is called %q; there are %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// perform acts the lessons out, one after another.
func perform(ctx context.Context, url string, chosen []lesson) (err error) {
	start := time.Now()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	b, err := connect(url, os.Getenv("MANAGEMENT_URL"))
	if err != nil {
		return err
	}
	defer func() { err = first(err, b.close()) }()

	screen := newScreen(os.Stdout, giveUp)
	claims := 0
	var failed []string
	for _, l := range chosen {
		s := &stage{ctx: ctx, broker: b, screen: screen}
		err := s.play(l)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		claims += s.claims
		if err != nil {
			log.Print(err)
		}
		if err != nil || s.broken > 0 {
			failed = append(failed, l.name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not everything went as claimed: %s", strings.Join(failed, ", "))
	}
	screen.printf("\nAll %d claims hold (%.0f s).\n", claims, time.Since(start).Seconds())
	return nil
}

// play acts the lesson out, and leaves the broker as it was before.
func (s *stage) play(l lesson) (err error) {
	s.screen.printf("\n%s\n", s.screen.paint(bold, l.title))
	tidy, err := s.broker.prepare(l)
	if err != nil {
		return err
	}
	defer func() { err = first(err, tidy()) }()
	return s.act(l.act)
}

// first returns err; if there is one, next can only be told.
func first(err, next error) error {
	if err == nil {
		return next
	}
	if next != nil {
		log.Print(next)
	}
	return err
}
