// Demo acts lessons out. It starts the programs that a learner would start in
// several terminals, shows their output together, and checks what each lesson
// claims; a claim that does not hold fails the command.
//
//	go run ./scripts/demo [hello] [workqueue] [pubsub] [routing] [topics] [rpc] [confirms] [pipeline] [retry] [cluster]
//
// It runs on the broker that `make up` would find or start, so that the console shows
// what happens. On a broker that was started here, it makes a virtual host of its own;
// otherwise it uses the one that AMQP_URL names, and leaves it as it was. For the lesson
// about a cluster, it starts three nodes and removes them at the end. It builds the
// programs into the folder .bin.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"rabbitmq-tutorial/internal/harness"
)

// A lesson has the names of what its programs declare, and a function that acts it out.
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
		{"pipeline", "Lesson 8: Pipelines", []string{"pipeline_numbers", "pipeline_results"}, nil, pipeline},
		{"retry", "Lesson 9: When work fails", []string{"retry_tasks", "retry_parked", "retry_wait_300", "retry_wait_600", "retry_wait_1200"}, nil, retry},
		{"cluster", "Lesson 10: When a machine dies", nil, nil, cluster},
	}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix(" [!] ")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: demo [LESSON...]\n\nActs lessons out, all or the named ones: %s.\n", names())
	}
	flag.Parse()
	// However a demo ends, it must put the broker in order again. So a closed terminal, or a
	// reader that is gone (`make demo | head`), must not end it on the spot.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	if err := run(ctx, flag.Args()); err != nil {
		log.Print(err)
		if ctx.Err() != nil {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

// names lists the lessons.
func names() string {
	var names []string
	for _, l := range lessons() {
		names = append(names, l.name)
	}
	return strings.Join(names, ", ")
}

// choose returns the lessons with these names, or all of them.
func choose(wanted []string) (chosen []lesson, err error) {
	all := lessons()
	if len(wanted) == 0 {
		return all, nil
	}
	for _, name := range wanted {
		i := slices.IndexFunc(all, func(l lesson) bool { return l.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no lesson is called %q; there are %s", name, names())
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// run acts the lessons out, one after another.
func run(ctx context.Context, args []string) (err error) {
	chosen, err := choose(args)
	if err != nil {
		return err
	}
	if err := harness.Build(".bin"); err != nil {
		return err
	}
	start := time.Now()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	var v *vhost
	if len(chosen) > 1 || chosen[0].name != "cluster" { // the cluster has brokers of its own
		if v, err = upVhost(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, v.close()) }()
		if err := v.lock(); err != nil {
			return err
		}
	}

	screen := newScreen(os.Stdout, giveUp)
	claims := 0
	var failed []string
	for _, l := range chosen {
		screen.printf("\n%s\n", screen.paint(bold, l.title))
		s := &stage{ctx: ctx, vhost: v, screen: screen}
		err := s.act(func(s *stage) {
			s.prepare(l)
			l.act(s)
		})
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted before every claim was checked: %w", context.Cause(ctx))
		}
		if err != nil {
			log.Print(err)
		}
		if err != nil || s.broken > 0 {
			failed = append(failed, l.name)
		}
		claims += s.claims
	}
	if len(failed) > 0 {
		return fmt.Errorf("not everything went as claimed: %s", strings.Join(failed, ", "))
	}
	screen.printf("\nAll %d claims hold (%.0f s).\n", claims, time.Since(start).Seconds())
	return nil
}
