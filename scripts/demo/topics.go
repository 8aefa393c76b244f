package main

import "slices"

func topics(s *stage) {
	s.watch("Watch the dots: * stands for exactly one word of the routing key, # for any number, also none.")

	star := s.start("receiver-1", "receive_logs_topic", "kern.*").await(1, "[*] Waiting for logs")
	hash := s.start("receiver-2", "receive_logs_topic", "kern.#").await(1, "[*] Waiting for logs")
	twice := s.start("receiver-3", "receive_logs_topic", "*.critical", "auth.*").await(1, "[*] Waiting for logs")
	unmatched := s.start("emitter", "emit_log_topic", "cron.daily.critical", "zero").exits(0)

	everything := s.start("receiver-4", "receive_logs_topic", "#").await(1, "[*] Waiting for logs")
	s.start("emitter", "emit_log_topic", "kern", "one").exits(0)
	s.start("emitter", "emit_log_topic", "kern.info", "two").exits(0)
	s.start("emitter", "emit_log_topic", "kern.disk.full", "three").exits(0)
	s.start("emitter", "emit_log_topic", "auth.critical", "four").exits(0)
	s.start("emitter", "emit_log_topic", "kern.critical", "five").exits(0)
	for _, receiver := range []*process{star, hash, twice, everything} {
		receiver.await(1, "kern.critical:five") // the last line: nothing can come after it
		receiver.stop()
	}

	s.claim(slices.Equal(star.printed(" [x] "), []string{"kern.info:two", "kern.critical:five"}),
		"kern.* matches kern.info and kern.critical, and neither kern nor kern.disk.full: * is exactly one word")
	s.claim(slices.Equal(hash.printed(" [x] "), []string{"kern:one", "kern.info:two", "kern.disk.full:three", "kern.critical:five"}),
		"kern.# matches all of these, and not auth.critical: # is zero words or more")
	s.claim(slices.Equal(twice.printed(" [x] "), []string{"auth.critical:four", "kern.critical:five"}),
		"auth.critical matches both keys of a queue, *.critical and auth.*, and arrives once")
	s.claim(len(unmatched.printed(" [!] nobody is listening for this topic")) == 1,
		"cron.daily.critical matches none of them, not *.critical either, and is discarded")
	s.claim(len(everything.printed(" [x] ")) == 5,
		"# matches everything that was published since it was bound")
}
