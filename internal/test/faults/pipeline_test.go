package faults_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

// Two stages are killed at random, and others take their place, while the broker is killed again and
// again. Every number must have its result, and pipeline_collect must count it once.
func TestEveryResultCountsOnceThoughStagesAndBrokerAreKilled(t *testing.T) {
	t.Parallel()
	total, brokerKills := size(1000, 20_000), size(1, 6)
	broker := harness.StartBroker(t)
	v := broker.NewVhost()
	// RabbitMQ 4 would give a number up after 20 redeliveries.
	v.SetPolicy("no limit here", "^pipeline_", map[string]any{"delivery-limit": 10_000})
	collect := harness.StartConsumer(t, v.URL, "pipeline_collect")
	ch := harness.Channel(t, v.URL)
	harness.DeclareQueue(t, ch, "pipeline_numbers")
	broker.SaveQueues()
	numbers := make([]amqp.Publishing, total)
	for i := range numbers {
		numbers[i] = amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: strconv.Itoa(i), Body: []byte(strconv.Itoa(i % 1000))}
	}
	harness.PublishMessages(t, ch, "", "pipeline_numbers", numbers...)

	var stages [2]*harness.Process
	var lives [2]int // how many numbers a stage begins before it is killed
	start := func(i int) {
		stages[i] = harness.StartConsumer(t, v.URL, "pipeline_stage", "-prefetch=10")
		lives[i] = rand.IntN(size(60, 300))
	}
	start(0)
	start(1)
	killed, brokerKilled := 0, 0
	began := time.Now()
	harness.Eventually(t, time.Duration(size(2, 10))*time.Minute, "all results are collected", func() bool {
		for i, stage := range stages {
			if n := len(stage.Stdout()); n > lives[i] {
				stage.Kill()
				killed++
				start(i)
			}
		}
		collected := 0
		for _, line := range collect.Stdout() {
			if strings.HasPrefix(line, " [x] ") {
				collected++
			}
		}
		if brokerKilled < brokerKills && collected > (brokerKilled+1)*total/(brokerKills+1) {
			broker.Kill()
			broker.Up()
			brokerKilled++
			t.Logf("%d results so far", collected)
		}
		return collected >= total
	})
	took := time.Since(began)
	for _, stage := range stages {
		stage.Stop()
	}
	v.AwaitQueue("pipeline_numbers", 0, 0)
	v.AwaitQueue("pipeline_results", 0, 0)
	collect.Stop()

	counted := make(map[string]int)
	for _, line := range collect.Stdout() {
		if result, ok := strings.CutPrefix(line, " [x] fib("); ok {
			n, _, _ := strings.Cut(result, ")")
			counted[n]++
		}
	}
	lost, twice := 0, 0
	for n := range min(total, 1000) {
		missing := total/1000 - counted[strconv.Itoa(n)]
		lost += max(0, missing)
		twice += max(0, -missing)
	}
	again := 0
	for _, line := range collect.Stderr() {
		if strings.HasSuffix(line, " again, ignored") {
			again++
		}
	}
	t.Logf("RabbitMQ %s: %d numbers, %d stages and %d brokers killed in %.0f s: %d results came again; lost %d, counted twice %d",
		broker.Version(), total, killed, brokerKilled, took.Seconds(), again, lost, twice)
	if lost > 0 || twice > 0 {
		t.Errorf("lost %d, counted twice %d", lost, twice)
	}
	if killed < size(5, 60) || brokerKilled < brokerKills || again == 0 {
		t.Error("too few kills, or no result came again: this proves nothing")
	}
}
