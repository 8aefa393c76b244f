// Command broker brings a RabbitMQ up for the lessons, or one for a single program.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"rabbitmq-tutorial/internal/broker"
)

const usage = `usage: broker COMMAND

  up                     find or start the broker for the lessons
  up-cluster             find or start three brokers for the lessons, as a cluster
  down                   stop what up or up-cluster started; its data stays
  kill                   end one node of the cluster as kill -9 does: NODE=1, 2 or 3; up-cluster
                         starts it again
  ctl ARG...             rabbitmqctl for that broker, in a cluster by its first node or $NODE
  run PROGRAM ARG...     start a broker for PROGRAM alone, and remove it afterwards;
                         PROGRAM finds it by TEST_AMQP_URL, or by its folder, TEST_BROKER
  root DIR               make a root folder with RabbitMQ 4 in it, for RABBITMQ_ROOT

AMQP_URL, BROKER, AMQP_PORT, MANAGEMENT_PORT, RABBITMQ_ROOT and BROKER_CONFIG say which
broker is meant: go doc ./internal/broker FromEnv`

func main() {
	log.SetFlags(0)
	log.SetPrefix("broker: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	if interrupted {
		os.Exit(130)
	}
	if ended, ok := err.(*exec.ExitError); ok { // ctl, or the program of run, has said what is wrong
		os.Exit(ended.ExitCode())
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	wish, err := broker.FromEnv()
	if err != nil {
		return err
	}
	node, err := broker.Open(wish.Config)
	if err != nil {
		return err
	}
	cluster, err := broker.OpenCluster(wish.Config)
	if err != nil {
		return err
	}
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch {
	case (command == "up" || command == "up-cluster") && len(args) == 0:
		up := broker.Up
		if command == "up-cluster" {
			up = broker.UpCluster
		}
		server, err := up(ctx, wish)
		if err == nil {
			log.Print(server.Told)
		}
		return err
	case command == "down" && len(args) == 0:
		if !node.Running() && !cluster.Running() {
			log.Print("nothing to stop: no broker that was started here is running")
			return nil
		}
		what := "broker "
		if cluster.Running() {
			what = "cluster "
		}
		log.Printf("stopping the %s, which takes some seconds; its data stays", what+node.Name())
		return errors.Join(node.Stop(ctx), cluster.Stop(ctx))
	case command == "kill" && len(args) == 0:
		node, err := chooseNode(cluster, os.Getenv("NODE"))
		if err != nil {
			return err
		}
		if !node.Running() {
			log.Printf("nothing to kill: %s does not run; make up-cluster starts it", node.Name())
			return nil
		}
		log.Printf("killing %s; make up-cluster starts it again", node.Name())
		return node.Kill(ctx)
	case command == "ctl":
		if number := os.Getenv("NODE"); number != "" {
			if node, err = chooseNode(cluster, number); err != nil {
				return err
			}
		} else if i := slices.IndexFunc(cluster[:], (*broker.Node).Running); i >= 0 && !node.Running() {
			node = cluster[i]
		}
		ctl, err := node.CtlCommand(ctx, args...)
		if err != nil {
			return err
		}
		ctl.Stdout, ctl.Stderr = os.Stdout, os.Stderr
		return ctl.Run()
	case command == "run" && len(args) > 0:
		return runOnOwn(ctx, wish.Config, args)
	case command == "root" && len(args) == 1:
		return broker.MakeRoot(ctx, args[0])
	}
	fmt.Fprintln(os.Stderr, usage)
	os.Exit(2)
	return nil
}

func chooseNode(cluster broker.Cluster, number string) (*broker.Node, error) {
	if i := slices.Index([]string{"1", "2", "3"}, number); i >= 0 {
		return cluster[i], nil
	}
	return nil, fmt.Errorf("NODE is %q: choose one of the cluster's nodes, NODE=1, NODE=2 or NODE=3", number)
}

// runOnOwn runs a program on a broker of its own, and leaves any other broker alone.
func runOnOwn(ctx context.Context, config broker.Config, program []string) (err error) {
	config.Dir = filepath.Join(filepath.Dir(config.Dir), fmt.Sprintf("test-%d", os.Getpid()))
	config.AMQPPort, config.ManagementPort = 0, 0
	node, err := broker.Open(config)
	if err != nil {
		return err
	}
	defer func() {
		left := errors.Join(removeLeft(node.Dir), node.Destroy(context.Background()))
		if left != nil { // otherwise main needs the program's own exit status
			err = errors.Join(err, left)
		}
	}()
	if err := node.Start(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, node.Log())
	}
	version, err := node.Ctl(ctx, "version")
	if err != nil {
		return err
	}
	version = strings.TrimSpace(version)
	log.Printf("started RabbitMQ %s for this run (%s)", version, node)

	cmd := exec.CommandContext(ctx, program[0], program[1:]...)
	cmd.Env = append(os.Environ(), "TEST_AMQP_URL="+node.URL(), "TEST_BROKER="+node.Dir, "TEST_BROKER_VERSION="+version,
		"RABBITMQ_ROOT="+config.Root) // it may have been relative to this folder
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// After Ctrl+C, the program has ten seconds to end by itself.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}

// removeLeft removes the brokers that the program has left: in folders whose names begin with that of its own
// broker, or in a copy of the repository in such a folder.
func removeLeft(dir string) (err error) {
	copies, _ := filepath.Glob(dir + "-*/*/.broker/tutorial")
	left, _ := filepath.Glob(dir + "-*")
	for _, dir := range append(copies, left...) {
		node, openErr := broker.Open(broker.Config{Dir: dir})
		if openErr == nil {
			openErr = node.Destroy(context.Background())
		}
		err = errors.Join(err, openErr)
	}
	return err
}
