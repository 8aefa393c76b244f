package main

import (
	"slices"
	"strings"
)

func pipeline(s *stage) {
	s.watch("Watch the queue: the numbers are submitted, and wait, though nobody works on them.")
	s.run("submit", "pipeline_submit 10 20 30 40")
	waited := s.holds("pipeline_numbers", 4)

	s.watch("Now two stages that share the numbers, and one program that collects the results. The last number is refused.")
	collector := s.start("collector", "pipeline_collect", "Waiting for messages")
	stages := []process{
		s.start("stage-1", "pipeline_stage -delay 300ms", "Waiting for messages"),
		s.start("stage-2", "pipeline_stage -delay 300ms", "Waiting for messages"),
	}
	s.run("submit", "pipeline_submit -- 50 60 -1")
	collector.Await("no result for")
	shared := true
	for _, stage := range stages {
		stage.Stop()
		shared = shared && len(stage.printed(" [.] fib(")) > 0
	}
	results := collector.printed(" [x] fib(")
	slices.Sort(results)

	s.watch("Now a stage is killed when it has published its result, and before it has acknowledged the number.")
	victim := s.start("stage-1", "pipeline_stage -delay 10s", "Waiting for messages")
	s.run("submit", "pipeline_submit 70")
	collector.Await("fib(70)")
	s.kill("stage-1", victim)
	heir := s.start("stage-2", "pipeline_stage", "Waiting for messages")
	collector.Await("again, ignored")
	heir.Stop()

	s.watch("The same with the wrong order: this stage acknowledges 80 first, and would publish its result later.")
	victim = s.start("stage-1", "pipeline_stage -ack-first -delay 10s", "Waiting for messages")
	s.run("submit", "pipeline_submit 80 81")
	victim.Await("fib(81)") // so, as the prefetch is 1, the broker has the acknowledgement of 80
	s.kill("stage-1", victim)
	heir = s.start("stage-2", "pipeline_stage", "Waiting for messages")
	s.run("submit", "pipeline_submit 90")
	collector.Await("fib(90)") // a result of 80 would have come before
	heir.Stop()
	collector.Stop()

	s.claim(waited, "pipeline_submit ends though nobody works on its numbers, which wait in the queue")
	s.claim(shared && slices.Equal(results, []string{
		"10) = 55", "20) = 6765", "30) = 832040", "40) = 102334155", "50) = 12586269025", "60) = 1548008755920"}),
		"two stages share the numbers, and each result is collected")
	s.claim(len(collector.printed(` [!] no result for "-1": n is -1`)) == 1,
		"a number that cannot be computed stops nobody, and goes on with the reason")
	s.claim(len(collector.printed(" [x] fib(70)")) == 1 && len(collector.printed(" [!] fib(70)")) == 1,
		"the number of a killed stage goes to another; its result comes twice and counts once")
	s.claim(!strings.Contains(collector.Output(), "fib(80)"),
		"a stage that acknowledges first takes its number along when it is killed")
}
