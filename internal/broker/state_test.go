package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// leftBy writes the state of a node that crashed together with the process that started it.
func leftBy(t *testing.T, pid int) *Node {
	t.Helper()
	ports, err := FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	node, err := Open(Config{Dir: filepath.Join(t.TempDir(), "crashed"), Kind: Native, AMQPPort: 5673})
	if err != nil {
		t.Fatal(err)
	}
	node.PID, node.EPMDPort = pid, ports[0]
	if err := errors.Join(os.Mkdir(node.Dir, 0o755), node.save()); err != nil {
		t.Fatal(err)
	}
	found, err := Open(Config{Dir: node.Dir, AMQPPort: 5674})
	if err != nil {
		t.Fatal(err)
	}
	if found.PID != pid || found.Kind != Native || found.AMQPPort != 5674 {
		t.Errorf("a new node in the old one's folder is %+v", found)
	}
	return found
}

func TestDeadProcessIsNoNode(t *testing.T) {
	dead := exec.Command(os.Args[0], "-test.run=^$")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	node := leftBy(t, dead.Process.Pid)
	if node.Running() {
		t.Error("a process that has ended is said to run")
	}
	if _, err := node.Ctl(t.Context(), "status"); err == nil {
		t.Error("rabbitmqctl was run on it")
	}
}

func TestAnotherProcessWithTheNumberIsNoNode(t *testing.T) {
	other := exec.Command(os.Args[0], "-test.run=^TestWaitForStdin$")
	other.Env = append(os.Environ(), "WAIT_FOR_STDIN=1")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	node := leftBy(t, other.Process.Pid)
	if node.Running() {
		t.Error("somebody else's process is taken for the node")
	}
	if node.Pause(t.Context()) == nil {
		t.Error("somebody else's process was frozen")
	}
	if err := errors.Join(node.Stop(t.Context()), node.Kill(t.Context()), node.Destroy(context.Background())); err != nil {
		t.Error(err)
	}
	stdin.Close()
	if err := other.Wait(); err != nil {
		t.Errorf("somebody else's process was ended: %v", err)
	}
	if _, err := os.Stat(node.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestWaitForStdin is the other process of the test above; in this process it does nothing.
func TestWaitForStdin(t *testing.T) {
	if os.Getenv("WAIT_FOR_STDIN") != "" {
		os.Stdin.Read(make([]byte, 1))
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mine")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(`{"PID": 47`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("half a state file: %v", err)
	}
	if _, err := Open(Config{Dir: filepath.Join(t.TempDir(), "My_Node")}); err == nil {
		t.Error("a node got an invalid name")
	}
}

func TestEPMDPortIsGivenUpToSomebodyElse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close() // no epmd
		}
	})
	defer served.Wait()
	defer listener.Close()
	taken := listener.Addr().(*net.TCPAddr).Port
	node := &Node{EPMDPort: taken}
	if err := node.takePorts(); err != nil || node.EPMDPort == taken {
		t.Errorf("%v, %v", node.EPMDPort, err)
	}
}

// All ports below 28600 belong to brokers that are down, and will want them again. The hundred that are
// left are enough, whatever else runs on this machine.
func TestTheFreePortsOfOtherBrokersAreLeftToThem(t *testing.T) {
	const free = 28_600
	folder := t.TempDir()
	for port := 23_000; port < free; port += 20 {
		dir := filepath.Join(folder, fmt.Sprint("b", port))
		if port%40 == 0 { // in a copy of the repository
			dir = filepath.Join(dir, "rabbitmq-tutorial", ".broker", "tutorial")
		}
		other := Node{TLSPort: port, DistPort: port + 4, EPMDPort: port + 8,
			Config: Config{Dir: dir, AMQPPort: port + 12, ManagementPort: port + 16}}
		if err := errors.Join(os.MkdirAll(other.Dir, 0o755), other.save()); err != nil {
			t.Fatal(err)
		}
	}
	node, err := Open(Config{Dir: filepath.Join(folder, "mine")})
	if err == nil {
		err = node.takePorts()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{node.AMQPPort, node.ManagementPort, node.DistPort, node.EPMDPort} {
		if port < free {
			t.Errorf("it took port %d, which is another broker's", port)
		}
	}
}

func TestANodeOfTheClusterThatIsDownSaysHowToStartIt(t *testing.T) {
	cluster, err := OpenCluster(Config{Dir: filepath.Join(t.TempDir(), "down")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster[1].Ctl(t.Context(), "status")
	if want := "node 2 of the cluster does not run: make up-cluster starts it"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
