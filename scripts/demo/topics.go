package main

import "slices"

func topics(s *stage) {
	s.watch("Watch the dots: * stands for exactly one word of the routing key, # for zero or more.")

	star := s.start("receiver-1", "receive_logs_topic 'kern.*'", "Waiting for logs")
	hash := s.start("receiver-2", "receive_logs_topic 'kern.#'", "Waiting for logs")
	twice := s.start("receiver-3", "receive_logs_topic '*.critical' 'auth.*'", "Waiting for logs")
	unmatched := s.run("emitter", "emit_log_topic cron.daily.critical zero")

	everything := s.start("receiver-4", "receive_logs_topic '#'", "Waiting for logs")
	s.run("emitter", "emit_log_topic kern one")
	s.run("emitter", "emit_log_topic kern.info two")
	s.run("emitter", "emit_log_topic kern.disk.full three")
	s.run("emitter", "emit_log_topic auth.critical four")
	s.run("emitter", "emit_log_topic kern.critical five")
	for _, receiver := range []process{star, hash, twice, everything} {
		receiver.Await("kern.critical:five") // the last line: nothing can come after it
		receiver.Stop()
	}

	s.claim(slices.Equal(star.printed(" [x] "), []string{"kern.info:two", "kern.critical:five"}),
		"kern.* matches kern.info and kern.critical, and neither kern nor kern.disk.full: * is exactly one word")
	s.claim(slices.Equal(hash.printed(" [x] "), []string{"kern:one", "kern.info:two", "kern.disk.full:three", "kern.critical:five"}),
		"kern.# matches all of these, and not auth.critical: # is zero or more words")
	s.claim(slices.Equal(twice.printed(" [x] "), []string{"auth.critical:four", "kern.critical:five"}),
		"auth.critical matches both keys of a queue, *.critical and auth.*, and arrives once")
	s.claim(len(unmatched.printed(" [!] nobody is listening for this topic")) == 1,
		"cron.daily.critical matches none of them, not even *.critical, and is discarded")
	s.claim(len(everything.printed(" [x] ")) == 5,
		"# matches everything that was published since it was bound")
}
