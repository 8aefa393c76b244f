package main

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"regexp"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// brokersHeader matches the headers that the broker itself writes.
var brokersHeader = regexp.MustCompile(`^x-(death|first-death-.*|last-death-.*|delivery-count|acquired-count)$`)

// Headers of a copy. A task that was never tried has neither.
const (
	attemptsHeader = "attempts" // how often the task was tried
	errorHeader    = "error"    // why it failed last
)

// attempts returns how often a task was tried.
func attempts(task amqp.Delivery) int {
	n := int64(0)
	switch header := task.Headers[attemptsHeader].(type) { // which one depends on the client that wrote it
	case int8, uint8, int16, uint16, int32, uint32, int64:
		n, _ = strconv.ParseInt(fmt.Sprint(header), 10, 64)
	}
	return int(min(max(n, 0), math.MaxInt32-1)) // anybody may have written it: not negative, and with room for one more
}

// work does a task: a second for each dot, up to 600. With n exclamation marks, the first n tries
// fail.
func work(task []byte, attempt int) error {
	dots := min(bytes.Count(task, []byte(".")), 600)
	time.Sleep(time.Duration(dots) * time.Second)
	if marks := bytes.Count(task, []byte("!")); attempt <= marks {
		return fmt.Errorf("exclamation mark %d of %d", attempt, marks)
	}
	return nil
}

// failed returns a copy of a task whose try has failed.
func failed(task amqp.Delivery, attempt int, why error) amqp.Publishing {
	again := fresh(task)
	again.Headers[attemptsHeader] = int64(attempt)
	again.Headers[errorHeader] = why.Error()
	return again
}

// fresh returns a copy of a task as if it had never been tried. It leaves out what would not be
// true of the copy, or do harm: the headers that are the broker's own (x-death says where the
// original was), CC (the broker would send the copy to these queues as well), the expiration (the
// copy might be gone before it is tried), and the user id (it may not be ours).
func fresh(task amqp.Delivery) amqp.Publishing {
	headers := maps.Clone(task.Headers)
	if headers == nil {
		headers = amqp.Table{}
	}
	maps.DeleteFunc(headers, func(name string, _ any) bool {
		return brokersHeader.MatchString(name) || name == "CC" || name == attemptsHeader || name == errorHeader
	})
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     task.ContentType,
		ContentEncoding: task.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        task.Priority,
		CorrelationId:   task.CorrelationId,
		ReplyTo:         task.ReplyTo,
		MessageId:       task.MessageId,
		Timestamp:       task.Timestamp,
		Type:            task.Type,
		AppId:           task.AppId,
		Body:            task.Body,
	}
}
