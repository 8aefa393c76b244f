package main

import (
	"fmt"
	"strings"
)

func confirms(s *stage) {
	s.watch("Watch the last figure of each line: how many times as fast as one by one each way is.")

	publisher := s.run("publisher", "publisher_confirms -n 2000")
	ways := publisher.printed(" [x] ")

	var faster float64
	if len(ways) == 3 {
		last := ways[2][strings.LastIndex(ways[2], ", ")+len(", "):]
		fmt.Sscanf(last, "%f times one by one", &faster) // leaves 0 if the line is another one
	}
	s.claim(len(ways) == 3 && len(publisher.printed(" [!] ")) == 0,
		"each way has published 2000 messages, none refused, and found all of them in the queue")
	s.claim(faster >= 5, "asynchronous publishing is at least 5 times as fast as one by one: %.1f times", faster)
}
