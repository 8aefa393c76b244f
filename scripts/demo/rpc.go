package main

import "slices"

func rpc(s *stage) {
	s.watch("Watch the two servers share the requests, and each client get the answers to its own.")

	server1 := s.start("server-1", "rpc_server", "Awaiting RPC requests")
	server2 := s.start("server-2", "rpc_server", "Awaiting RPC requests")
	client1 := s.start("client-1", "rpc_client 10 20 30", "Requesting")
	client2 := s.start("client-2", "rpc_client 15 25 35", "Requesting")
	client1.Exits(0)
	client2.Exits(0)
	shared := len(server1.printed(" [.] fib")) > 0 && len(server2.printed(" [.] fib")) > 0

	s.watch("Now requests that the servers refuse, and one that they answer after that.")
	refused := s.launch("client-1", "rpc_client -- -1 1000000")
	refused.Exits(1)
	served := s.run("client-1", "rpc_client 12")
	server1.Stop()
	server2.Stop()

	s.watch("Now a request without a server. A server that starts too late must not get it.")
	alone := s.launch("client-1", "rpc_client -timeout 1s 30")
	alone.Exits(1)
	expired := s.holds("rpc_queue", 0)

	s.claim(sameAnswers(client1, "55", "6765", "832040") && sameAnswers(client2, "610", "75025", "9227465"),
		"each client gets the answers to its own requests, though all are made at once")
	s.claim(shared, "the servers share the queue of requests")
	s.claim(len(refused.printed(" [!] fib(-1): the server refused")) == 1 &&
		len(refused.printed(" [!] fib(1000000): the server refused")) == 1,
		"the server refuses what it cannot compute, and the client says why")
	s.claim(slices.Equal(served.printed(" [.] Got "), []string{"144"}), "the servers live on")
	s.claim(len(alone.printed(" [!] fib(30): no answer within 1s")) == 1,
		"without a server, the client gives up at its timeout")
	s.claim(expired, "its request expires in the queue")
}

// sameAnswers reports whether the client got these answers, in any order.
func sameAnswers(client process, want ...string) bool {
	got := client.printed(" [.] Got ")
	slices.Sort(got)
	slices.Sort(want)
	return slices.Equal(got, want)
}
