package lessons_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"rabbitmq-tutorial/internal/harness"
)

func TestAFailedTaskComesBackAfterAPauseThatDoubles(t *testing.T) {
	t.Parallel()
	const pause = 300 * time.Millisecond
	v := harness.NewVhost(t)
	worker := harness.StartConsumer(t, v.URL, "retry_worker", "-pause", pause.String())
	harness.Run(t, v.URL, 0, "retry_task", "third", "time", "lucky!!")
	tries := []time.Time{worker.Await("Received").At, worker.Await("Received").At, worker.Await("Received").At}
	worker.Await("Done")
	worker.Stop()

	wantStdout(t, worker, harness.WaitingForMessages, " [x] Received third time lucky!!",
		" [x] Received third time lucky!!", " [x] Received third time lucky!!", " [x] Done")
	wantStderr(t, worker, " [!] try 1 of 4 failed: exclamation mark 1 of 2; now in retry_wait_300",
		" [!] try 2 of 4 failed: exclamation mark 2 of 2; now in retry_wait_600")
	for i, want := range []time.Duration{pause, 2 * pause} {
		if got := tries[i+1].Sub(tries[i]); got < want {
			t.Errorf("try %d came %v after the one before, want at least %v", i+2, got, want)
		}
	}
	for _, queue := range []string{"retry_tasks", "retry_wait_300", "retry_wait_600", "retry_wait_1200", "retry_parked"} {
		v.AwaitQueue(queue, 0, 0)
	}
}

func TestATaskIsParkedAfterItsLastTry(t *testing.T) {
	t.Parallel()
	for retries := range 3 {
		t.Run(fmt.Sprint(retries), func(t *testing.T) {
			t.Parallel()
			v := harness.NewVhost(t)
			worker := harness.StartConsumer(t, v.URL, "retry_worker", "-pause=1ms", fmt.Sprint("-retries=", retries))
			harness.Run(t, v.URL, 0, "retry_task", "hopeless!!!!!")
			worker.Await(fmt.Sprintf(" [!] try %d of %d failed: exclamation mark %[1]d of 5; now in retry_parked", retries+1, retries+1))
			worker.Stop()
			v.AwaitQueue("retry_tasks", 0, 0)

			parked := harness.Get(t, harness.Channel(t, v.URL), "retry_parked")
			if string(parked.Body) != "hopeless!!!!!" || parked.DeliveryMode != amqp.Persistent || parked.ContentType != "text/plain" {
				t.Errorf("parked is %q, delivery mode %d, content type %q", parked.Body, parked.DeliveryMode, parked.ContentType)
			}
			delete(parked.Headers, "x-delivery-count") // it comes from the queue
			why := fmt.Sprintf("exclamation mark %d of 5", retries+1)
			if parked.Headers["attempts"] != int64(retries+1) || parked.Headers["error"] != why || len(parked.Headers) != 2 {
				t.Errorf("its headers are %v", parked.Headers)
			}
		})
	}
}

// What waits is in another queue: the tasks behind it are done meanwhile.
func TestAFailedTaskHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	worker := harness.StartConsumer(t, v.URL, "retry_worker", "-pause=1h")
	ch := harness.Channel(t, v.URL)
	harness.Publish(t, ch, "", "retry_tasks", "fails!", "one", "two")
	for _, task := range []string{"one", "two"} {
		worker.Await(" [x] Received " + task)
		worker.Await(" [x] Done")
	}
	v.AwaitReady("retry_wait_3600000", 1)
}

// The copy is safe before the original is acknowledged: while it cannot be published, the task
// stays where it is.
func TestATaskIsAcknowledgedOnlyWhenItsCopyIsSafe(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	worker := harness.StartConsumer(t, v.URL, "retry_worker", "-pause=1h")
	v.DeleteQueue("retry_wait_3600000")
	harness.Run(t, v.URL, 0, "retry_task", "precious!")
	if line := harness.WantFailure(t, worker); !strings.Contains(line, `publish to queue "retry_wait_3600000": no queue took the message`) {
		t.Errorf("it says %q", line)
	}
	v.AwaitQueue("retry_tasks", 1, 0)
}

func TestUnparkMovesTheParkedTasksBack(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	unpark := func() *harness.Process { t.Helper(); return harness.Run(t, v.URL, 0, "retry_worker", "-unpark") }
	wantStderr(t, unpark(), " [!] no task is parked in retry_parked")

	tasks := harness.Numbered("never!!", 3)
	worker := harness.StartConsumer(t, v.URL, "retry_worker", "-retries=0")
	harness.Publish(t, harness.Channel(t, v.URL), "", "retry_tasks", tasks...)
	v.AwaitReady("retry_parked", 3)
	worker.Stop()

	wantStdout(t, unpark(), " [x] Sent never!!1", " [x] Sent never!!2", " [x] Sent never!!3")
	v.AwaitQueue("retry_parked", 0, 0)
	v.AwaitQueue("retry_tasks", 3, 0)
	for _, task := range v.Drain("retry_tasks") {
		if len(task.Headers) > 0 || task.DeliveryMode != amqp.Persistent {
			t.Errorf("%s is back with the headers %v, delivery mode %d", task.Body, task.Headers, task.DeliveryMode)
		}
	}
}

// Ctrl+C in the middle of a task that fails: its copy is published before the worker ends.
func TestInterruptedWorkerPutsItsFailedTaskOff(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	worker := harness.StartConsumer(t, v.URL, "retry_worker", "-pause=1h")
	harness.Publish(t, harness.Channel(t, v.URL), "", "retry_tasks", "slow.....!", "next")
	worker.Await("Received slow")
	worker.Stop()
	wantStdout(t, worker, harness.WaitingForMessages, " [x] Received slow.....!")
	wantStderr(t, worker, " [!] try 1 of 4 failed: exclamation mark 1 of 1; now in retry_wait_3600000")
	v.AwaitQueue("retry_wait_3600000", 1, 0)
	v.AwaitQueue("retry_tasks", 1, 0)
}

// Whatever a failing task is made of, the copy has the same body and the same properties.
func TestACopyIsTheTask(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	ch := harness.Channel(t, v.URL)
	harness.StartConsumer(t, v.URL, "retry_worker", "-pause=1ms", "-retries=1")
	harness.DeclareQueue(t, ch, "copied to")
	parked := harness.Consume(t, ch, "retry_parked", 0)
	long := strings.Repeat("\x1b", 255)
	sent := amqp.Publishing{
		ContentType: "image/png", ContentEncoding: "gzip", DeliveryMode: amqp.Persistent, Priority: 9, CorrelationId: long, ReplyTo: long,
		Expiration: "600000", MessageId: long, Timestamp: time.Unix(1_000_000_000, 0).UTC(), Type: long, UserId: "guest", AppId: long,
		Headers: amqp.Table{"trace": "abc", "x-request-id": "7", "nested": amqp.Table{"a": []any{int64(1), nil, true, 1.5}}, "when": time.Unix(1, 0).UTC()},
	}
	for _, h := range append(hostile, struct{ raw, printed string }{huge, ""}) {
		sent.Body = []byte(h.raw + "!!!")
		harness.PublishMessages(t, ch, "", "retry_tasks", sent)
		got := harness.Next(t, parked)
		got.Ack(false)
		delete(got.Headers, "error")
		delete(got.Headers, "attempts")
		if string(got.Body) != string(sent.Body) || fmt.Sprint(got.Headers) != fmt.Sprint(sent.Headers) {
			t.Errorf("parked is %.100q with %v, want %.100q with %v", got.Body, got.Headers, sent.Body, sent.Headers)
		}
		if got.ContentType != sent.ContentType || got.ContentEncoding != sent.ContentEncoding || got.Priority != sent.Priority ||
			got.CorrelationId != sent.CorrelationId || got.ReplyTo != sent.ReplyTo || got.MessageId != sent.MessageId ||
			!got.Timestamp.Equal(sent.Timestamp) || got.Type != sent.Type || got.AppId != sent.AppId {
			t.Errorf("parked is %+v", got)
		}
		if got.Expiration != "" || got.UserId != "" {
			t.Errorf("parked has the expiration %q and the user id %q", got.Expiration, got.UserId)
		}
	}
	// CC: the broker sends a message to these queues as well. A copy must not go there again.
	harness.PublishMessages(t, ch, "", "retry_tasks", amqp.Publishing{
		Headers: amqp.Table{"CC": []any{"copied to"}}, Body: []byte("copied!!!")})
	harness.Next(t, parked).Ack(false)
	v.AwaitQueue("copied to", 1, 0)
}

// The count of a task's tries comes from outside: any value must be survived.
func TestHostileCountsOfTries(t *testing.T) {
	t.Parallel()
	v := harness.NewVhost(t)
	worker := harness.StartConsumer(t, v.URL, "retry_worker", "-pause=1ms")
	ch := harness.Channel(t, v.URL)
	// After four tries that failed, it is parked; if it was tried often enough before, it succeeds.
	for count, end := range map[any]string{
		"many": "now in retry_parked", true: "now in retry_parked", 3.0: "now in retry_parked", int32(-1): "now in retry_parked",
		int64(-1 << 63): "now in retry_parked", int64(3): "try 4 of 4", int32(3): "try 4 of 4", int8(3): "try 4 of 4", int64(4): "try 5 of 4", int64(1<<63 - 1): " [x] Done",
	} {
		harness.PublishMessages(t, ch, "", "retry_tasks", amqp.Publishing{Headers: amqp.Table{"attempts": count}, Body: []byte("!!!!!")})
		worker.Await(end)
	}
	worker.Stop()
	// Five counts are ignored, which makes four tries each; a try is left after a 3, and one is made after a 4.
	if n := strings.Count(strings.Join(worker.Stderr(), "\n"), "[!] try "); n != 5*4+3+1 {
		t.Errorf("%d tries failed, want 24:\n%s", n, worker.Output())
	}
	v.AwaitQueue("retry_tasks", 0, 0)
	v.AwaitQueue("retry_parked", 9, 0)
}
