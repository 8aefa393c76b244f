package amqpx

import (
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ackDelay bounds how long a delivery that was dealt with waits for company.
const ackDelay = 50 * time.Millisecond

// Acks acknowledges several deliveries at once, which spares a busy consumer and
// its broker most of the acknowledgements. It never acknowledges a delivery that
// was not handed to Ack. The deliveries may come in any order and from several
// goroutines.
//
// See https://www.rabbitmq.com/docs/confirms#consumer-acks-multiple-parameter.
type Acks struct {
	session *Session
	every   int

	mu    sync.Mutex
	done  uint64          // all deliveries up to this tag were handed in
	last  uint64          // the last one of them that is still to acknowledge
	count int             // how many of them are
	early map[uint64]bool // handed in before one with a lower tag; true: acknowledged
	loose []uint64        // those of them that are still to acknowledge, and some that are done
	timer *time.Timer     // flushes; nil while nothing waits
	err   error
}

// CoalesceAcks returns an Acks for the session, whose deliveries must all be
// acknowledged through it: none rejected, none left out. It acknowledges as soon
// as every deliveries in a row have been dealt with, after 50 milliseconds at the
// latest, and at the end of the session. More than half the prefetch count makes
// the consumer wait.
//
// Those behind a delivery that is not dealt with yet get an acknowledgement each.
// All consumers of the session share one ctx, and all calls of Ack have returned
// when the session's function does.
func (s *Session) CoalesceAcks(every int) *Acks {
	a := &Acks{session: s, every: every, early: make(map[uint64]bool)}
	s.stops = slices.Insert(s.stops, 0, a.flush) // before the consumers end
	return a
}

// Ack acknowledges a delivery, now or a little later. The error is that of an
// earlier acknowledgement: the session is lost, and what it left without one will
// be delivered again. A delivery of another session is refused with
// [amqp.ErrClosed]: its tag is another message's here.
func (a *Acks) Ack(d amqp.Delivery) error {
	if d.Acknowledger != a.session.Channel {
		return amqp.ErrClosed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.DeliveryTag != a.done+1 {
		a.early[d.DeliveryTag] = false
		a.loose = append(a.loose, d.DeliveryTag)
	} else {
		a.next(false)
		for acked, ok := a.early[a.done+1]; ok; acked, ok = a.early[a.done+1] {
			delete(a.early, a.done+1)
			a.next(acked)
		}
	}
	if a.count >= a.every {
		a.ackInOrder()
	}
	if len(a.loose) >= a.every {
		a.loose = slices.DeleteFunc(a.loose, func(tag uint64) bool { return tag <= a.done })
		if len(a.loose) >= a.every {
			a.ackLoose()
		}
	}
	if a.timer == nil && a.count+len(a.loose) > 0 {
		a.timer = time.AfterFunc(ackDelay, a.flush)
	}
	return a.err
}

// next takes the next delivery in order into the count.
func (a *Acks) next(acked bool) {
	a.done++
	if !acked {
		a.last = a.done
		a.count++
	}
}

// ackInOrder acknowledges all deliveries up to the last one.
func (a *Acks) ackInOrder() {
	a.ack(a.last, true)
	a.count = 0
}

// ackLoose acknowledges those that are not in order, each by itself.
func (a *Acks) ackLoose() {
	for _, tag := range a.loose {
		if tag > a.done {
			a.ack(tag, false)
			a.early[tag] = true
		}
	}
	a.loose = a.loose[:0]
}

func (a *Acks) ack(tag uint64, multiple bool) {
	if err := a.session.Ack(tag, multiple); err != nil && a.err == nil {
		a.err = err
	}
}

// flush acknowledges all that was handed in.
func (a *Acks) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
	if a.count > 0 {
		a.ackInOrder()
	}
	a.ackLoose()
}
