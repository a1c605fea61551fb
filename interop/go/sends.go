package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// The topic does not exist before: the first send creates it from TBW102.
func sendSync(c *clients) int {
	topic := c.unique("sync")
	by := c.producer()
	told := newReceipts()
	for i := 0; i < 200; i++ {
		result, err := by.SendSync(context.Background(), message(topic, fmt.Sprintf("tag-%d", i%3), i))
		must(err)
		must(told.add(i, result))
		equal("DefaultRegion", result.RegionID, "region")
	}
	read := c.readTopic(topic, 200)
	told.checkAgainst(read)
	used := map[int]bool{}
	for _, one := range read {
		checkMessage(one, topic, fmt.Sprintf("tag-%d", numberOf(one)%3))
		used[one.Queue.QueueId] = true
	}
	equal(4, len(used), "queues in use")
	return len(read)
}

// A queue that the caller chooses; the order within it is the order of the calls.
func sendToQueue(c *clients) int {
	topic := c.unique("to-queue")
	c.createTopic(topic, 4)
	by := c.producer(producer.WithQueueSelector(producer.NewManualQueueSelector()))
	queues := c.queues(topic)
	told := newReceipts()
	for i := 0; i < 60; i++ {
		one := message(topic, "", i)
		one.Queue = queues[i%3]
		result, err := by.SendSync(context.Background(), one)
		must(err)
		must(told.add(i, result))
		equal(i%3, result.MessageQueue.QueueId, "queue of %d", i)
		equal(int64(i/3), result.QueueOffset, "queue offset of %d", i)
	}
	read := c.readTopic(topic, 60)
	told.checkAgainst(read)
	for _, one := range read {
		checkMessage(one, topic, "")
	}
	return len(read)
}

func sendAsync(c *clients) int {
	const count = 500
	topic := c.unique("async")
	by := c.producer()
	told := newReceipts()
	inFlight := make(chan struct{}, 64)
	problems := make(chan error, count)
	var answered sync.WaitGroup
	for i := 0; i < count; i++ {
		number := i
		inFlight <- struct{}{}
		answered.Add(1)
		must(by.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			if err == nil {
				err = told.add(number, result)
			}
			if err != nil {
				problems <- err
			}
			<-inFlight
			answered.Done()
		}, message(topic, "async", i)))
	}
	answered.Wait()
	if len(problems) > 0 {
		fail("%d sends failed, one with: %v", len(problems), <-problems)
	}
	read := c.readTopic(topic, count)
	told.checkAgainst(read)
	for _, one := range read {
		checkMessage(one, topic, "async")
	}
	return len(read)
}

func sendOneWay(c *clients) int {
	topic := c.unique("oneway")
	by := c.producer()
	// One-way sends cannot report that the topic is still being created.
	_, err := by.SendSync(context.Background(), message(topic, "oneway", 0))
	must(err)
	for i := 1; i < 200; i++ {
		must(by.SendOneWay(context.Background(), message(topic, "oneway", i)))
	}
	read := c.readTopic(topic, 200)
	seen := map[int]bool{}
	for _, one := range read {
		checkMessage(one, topic, "oneway")
		seen[numberOf(one)] = true
	}
	equal(200, len(seen), "different messages")
	return len(read)
}

// A batch lies in one queue without a gap; its answer names the first queue offset and every offset id.
func sendBatch(c *clients) int {
	topic := c.unique("batch")
	by := c.producer()
	type told struct {
		first  int
		result *primitive.SendResult
	}
	byNumber := map[int]told{}
	sent := 0
	for _, size := range []int{1, 2, 10, 50, 100, 37} {
		var batch []*primitive.Message
		for i := 0; i < size; i++ {
			batch = append(batch, message(topic, fmt.Sprintf("tag-%d", (sent+i)%2), sent+i))
		}
		result, err := by.SendSync(context.Background(), batch...)
		must(err)
		equal(primitive.SendOK, result.Status, "status of the batch of %d", size)
		equal(size, len(strings.Split(result.OffsetMsgID, ",")), "offset ids of the batch of %d", size)
		for i := 0; i < size; i++ {
			byNumber[sent+i] = told{sent, result}
		}
		sent += size
	}
	read := c.readTopic(topic, sent)
	for _, one := range read {
		number := numberOf(one)
		checkMessage(one, topic, fmt.Sprintf("tag-%d", number%2))
		batch := byNumber[number]
		index := number - batch.first
		equal(batch.result.MessageQueue.QueueId, one.Queue.QueueId, "queue of %d", number)
		equal(batch.result.QueueOffset+int64(index), one.QueueOffset, "queue offset of %d", number)
		equal(strings.Split(batch.result.OffsetMsgID, ",")[index], one.OffsetMsgId, "offset id of %d", number)
	}
	return len(read)
}

// Bodies of 4 KiB and more are compressed by the client; the broker keeps them so, and the consumer sees them whole.
func sendCompressed(c *clients) int {
	topic := c.unique("compressed")
	by := c.producer()
	sizes := []int{4095, 4096, 4097, 5000, 10_000, 65_536, 100_001, 1_000_000}
	told := newReceipts()
	for i := 0; i < 40; i++ {
		result, err := by.SendSync(context.Background(), messageOf(topic, "big", i, largeBody(i, sizes[i%8])))
		must(err)
		must(told.add(i, result))
	}
	read := c.readTopic(topic, 40)
	told.checkAgainst(read)
	for _, one := range read {
		number := numberOf(one)
		size := sizes[number%8]
		must(differences(one, topic, "big", largeBody(number, size)))
		equal(size >= 4096, one.SysFlag&primitive.FlagCompressed != 0, "compressed flag of %d with %d bytes", number, size)
		if number%2 == 0 {
			equal(size >= 4096, int(one.StoreSize) < size, "compression of %d: %d bytes stored in %d", number, size, one.StoreSize)
		}
	}
	return len(read)
}

// A body over the broker's maxMessageSize is refused with code 13, and the connection goes on.
func sendTooLarge(c *clients) int {
	topic := c.unique("too-large")
	by := c.producer(producer.WithCompressMsgBodyOverHowmuch(1 << 30))
	told := newReceipts()
	for i, size := range []int{10, 4*1024*1024 + 1, 10} {
		result, err := by.SendSync(context.Background(), messageOf(topic, "", i, largeBody(i, size)))
		if size == 10 {
			must(err)
			must(told.add(i, result))
			continue
		}
		check(err != nil && strings.HasPrefix(err.Error(), "CODE: 13,"), "4 MiB + 1 byte: %v", err)
	}
	read := c.readTopic(topic, 2)
	told.checkAgainst(read)
	for _, one := range read {
		must(differences(one, topic, "", largeBody(numberOf(one), 10)))
	}
	return len(read)
}

// Level 1 is one second: no message comes earlier, all come.
func sendDelayed(c *clients) int {
	topic := c.unique("delay")
	c.createTopic(topic, 4)
	in := pushInbox(topic)
	c.pushConsumer(c.unique("late"), topic, "*", in)
	by := c.producer()
	for i := 0; i < 10; i++ {
		result, err := by.SendSync(context.Background(), message(topic, "push", i).WithDelayTimeLevel(1))
		must(err)
		equal(primitive.SendOK, result.Status, "status of %d", i)
	}
	expectExactly(span(0, 10), in)
	for _, one := range in.all() {
		waited := time.Duration(one.StoreTimestamp-one.BornTimestamp) * time.Millisecond
		check(waited >= 900*time.Millisecond, "%d was stored for its queue after %s", numberOf(one), waited)
	}
	return 10
}
