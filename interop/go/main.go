// Command interop runs scenarios of Apache's Go client against one cluster and prints a line for each.
//
//	interop --namesrv HOST:PORT [--target java|single|three] [scenario ...]
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// What a client does against a cluster; tells how many messages it asserted by content.
type scenario struct {
	name string
	run  func(*clients) int
}

var scenarios = []scenario{
	{"sync", sendSync},
	{"sync-to-queue", sendToQueue},
	{"async", sendAsync},
	{"oneway", sendOneWay},
	{"batch", sendBatch},
	{"compressed", sendCompressed},
	{"too-large", sendTooLarge},
	{"tags", pushTags},
	{"push-clustering", pushClustering},
	{"push-broadcasting", pushBroadcasting},
	{"rebalance", pushRebalance},
	{"pull", pullStatuses},
	{"pull-poll", pullPoll},
	{"offsets-kept-push", offsetsKeptPush},
	{"offsets-kept-pull", offsetsKeptPull},
	{"admin", adminTopics},
	{"orderly", pushOrderly},
	{"delay", sendDelayed},
	{"transaction", sendTransactions},
}

// What RaftMQ does not promise yet; run against Java's broker only. A scenario leaves this list with its feature.
var knownGaps = map[string]string{
	"orderly":     "locks of queues, requests 41 and 42",
	"delay":       "delay levels",
	"transaction": "transactions, request 37",
}

// One scenario may take this long on a machine that is busy compiling.
const scenarioLimit = 120 * time.Second

func main() {
	namesrv := flag.String("namesrv", "", "HOST:PORT")
	target := flag.String("target", "unnamed", "what is behind the name server: java, single or three")
	gaps := flag.Bool("gaps", false, "run the known gaps too")
	flag.Parse()
	if *namesrv == "" {
		fmt.Fprintln(os.Stderr, "--namesrv HOST:PORT is missing")
		os.Exit(2)
	}
	rlog.SetLogLevel("error")
	chosen := choose(flag.Args())
	fmt.Printf("client Go v2.1.2, target %s\n", *target)
	passed, failed, left := 0, 0, 0
	for _, one := range chosen {
		if why, gap := knownGaps[one.name]; gap && *target != "java" && !*gaps {
			fmt.Printf("GAP  %s (%s)\n", one.name, why)
			left++
			continue
		}
		begin := time.Now()
		messages, err := attempt(one, *namesrv)
		if err != nil {
			fmt.Printf("FAIL %s: %v\n", one.name, err)
			failed++
			continue
		}
		fmt.Printf("PASS %s (%d messages, %.1f s)\n", one.name, messages, time.Since(begin).Seconds())
		passed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, left)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func choose(names []string) []scenario {
	if len(names) == 0 {
		return scenarios
	}
	var chosen []scenario
	var known []string
	for _, one := range scenarios {
		known = append(known, one.name)
		for _, name := range names {
			if name == one.name {
				chosen = append(chosen, one)
			}
		}
	}
	if len(chosen) != len(names) {
		fmt.Printf("of %v only %d are scenarios; there are: %s\n", names, len(chosen), strings.Join(known, " "))
		os.Exit(2)
	}
	return chosen
}

// Checks end a scenario by a panic with a failure; a scenario that hangs is given up, its goroutines with it.
func attempt(one scenario, namesrv string) (int, error) {
	type outcome struct {
		messages int
		err      error
	}
	done := make(chan outcome, 1)
	go func() {
		made := newClients(namesrv, one.name)
		defer func() {
			if why := recover(); why != nil {
				failed, expected := why.(failure)
				if !expected {
					panic(why)
				}
				done <- outcome{0, failed}
			}
		}()
		defer made.close()
		messages := one.run(made)
		done <- outcome{messages, nil}
	}()
	select {
	case ended := <-done:
		return ended.messages, ended.err
	case <-time.After(scenarioLimit):
		return 0, fmt.Errorf("no end within %s", scenarioLimit)
	}
}
