package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strconv"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// Beyond ASCII on purpose, four-byte characters included.
const textProperty = "Grüße, 消息, 🚀"

// message can be told apart and checked from its number alone.
func message(topic, tag string, number int) *primitive.Message {
	return messageOf(topic, tag, number, smallBody(topic, number))
}

func messageOf(topic, tag string, number int, body []byte) *primitive.Message {
	made := primitive.NewMessage(topic, body)
	made.Flag = 7
	if tag != "" {
		made.WithTag(tag)
	}
	made.WithKeys([]string{fmt.Sprintf("key-%d", number), fmt.Sprintf("other-%d", number)})
	made.WithProperty("number", strconv.Itoa(number))
	made.WithProperty("text", textProperty)
	return made
}

func smallBody(topic string, number int) []byte {
	return []byte(fmt.Sprintf("RaftMQ %s Nachricht ü %d", topic, number))
}

// largeBody compresses well (even numbers) or not at all (odd ones).
func largeBody(number, size int) []byte {
	if number%2 == 0 {
		return bytes.Repeat([]byte{byte('a' + number%26)}, size)
	}
	body := make([]byte, size)
	rand.New(rand.NewSource(int64(number))).Read(body)
	return body
}

func numberOf(of *primitive.MessageExt) int {
	number, err := strconv.Atoi(of.GetProperty("number"))
	if err != nil {
		fail("a message without a number: %s", of.String())
	}
	return number
}

// differences of a message from what its producer put in; nil if nothing changed.
func differences(of *primitive.MessageExt, topic, tag string, body []byte) error {
	number := of.GetProperty("number")
	for _, one := range []struct {
		what             string
		expected, actual any
	}{
		{"topic", topic, of.Topic},
		{"tag", tag, of.GetTags()},
		{"keys", "key-" + number + " other-" + number, of.GetKeys()},
		{"text", textProperty, of.GetProperty("text")},
		{"flag", int32(7), of.Flag},
		{"reconsume times", int32(0), of.ReconsumeTimes},
		{"times", true, of.BornTimestamp > 0 && of.StoreTimestamp > 0},
	} {
		if one.expected != one.actual {
			return fmt.Errorf("%s of %s: expected %v, got %v", one.what, number, one.expected, one.actual)
		}
	}
	if !bytes.Equal(body, of.Body) {
		return fmt.Errorf("body of %s differs: %d bytes in place of %d", number, len(of.Body), len(body))
	}
	return nil
}

func checkMessage(of *primitive.MessageExt, topic, tag string) {
	must(differences(of, topic, tag, smallBody(topic, numberOf(of))))
}

// receipts are what sends were told, by number of the message.
type receipts struct {
	mutex    sync.Mutex
	byNumber map[int]*primitive.SendResult
}

func newReceipts() *receipts { return &receipts{byNumber: map[int]*primitive.SendResult{}} }

func (r *receipts) add(number int, result *primitive.SendResult) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if result.Status != primitive.SendOK || len(result.OffsetMsgID) != 32 {
		return fmt.Errorf("send of %d: %s", number, result.String())
	}
	r.byNumber[number] = result
	return nil
}

// checkAgainst asserts that all that was sent was read, each where its send said, under the ids it was told.
func (r *receipts) checkAgainst(read []*primitive.MessageExt) {
	equal(len(r.byNumber), len(read), "messages read")
	seen := map[int]bool{}
	for _, one := range read {
		number := numberOf(one)
		check(!seen[number], "%d was read twice", number)
		seen[number] = true
		told := r.byNumber[number]
		check(told != nil, "%d was never sent", number)
		equal(told.MessageQueue.QueueId, one.Queue.QueueId, "queue of %d", number)
		equal(told.QueueOffset, one.QueueOffset, "queue offset of %d", number)
		equal(told.MsgID, one.MsgId, "message id of %d", number)
		equal(told.OffsetMsgID, one.OffsetMsgId, "offset id of %d", number)
	}
}

// inbox collects what one push consumer is given, checks each message, and accounts for every delivery.
type inbox struct {
	mutex    sync.Mutex
	received []*primitive.MessageExt
	problem  error
	verify   func(*primitive.MessageExt) error
}

// A wrong message fails the scenario, not the consumption.
func (in *inbox) listen(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	for _, one := range messages {
		if err := in.verify(one); err != nil && in.problem == nil {
			in.problem = err
		}
		in.received = append(in.received, one)
	}
	return consumer.ConsumeSuccess, nil
}

func (in *inbox) all() []*primitive.MessageExt {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	must(in.problem)
	return append([]*primitive.MessageExt(nil), in.received...)
}

func pushInbox(topic string) *inbox {
	return &inbox{verify: func(one *primitive.MessageExt) error {
		return differences(one, topic, "push", smallBody(topic, numberOf(one)))
	}}
}

// expectExactly waits until the inboxes together hold the numbers, then lets extras arrive: each once, none other.
func expectExactly(numbers []int, inboxes ...*inbox) {
	missing := func() []int {
		have := map[int]bool{}
		for _, in := range inboxes {
			for _, one := range in.all() {
				have[numberOf(one)] = true
			}
		}
		var none []int
		for _, number := range numbers {
			if !have[number] {
				none = append(none, number)
			}
		}
		return none
	}
	eventually(func() bool { return len(missing()) == 0 },
		func() string {
			return fmt.Sprintf("%d of %d messages never came: %v", len(missing()), len(numbers), missing())
		})
	settle()
	wanted, seen := map[int]bool{}, map[int]bool{}
	for _, number := range numbers {
		wanted[number] = true
	}
	for _, in := range inboxes {
		for _, one := range in.all() {
			number := numberOf(one)
			check(wanted[number], "%d was not expected here", number)
			check(!seen[number], "%d was delivered twice", number)
			seen[number] = true
		}
	}
}

func span(from, to int) []int {
	var numbers []int
	for number := from; number < to; number++ {
		numbers = append(numbers, number)
	}
	return numbers
}

// sendPush sends what a pushInbox expects.
func sendPush(by rocketmq.Producer, topic string, from, to int) *receipts {
	told := newReceipts()
	for number := from; number < to; number++ {
		result, err := by.SendSync(context.Background(), message(topic, "push", number))
		must(err)
		must(told.add(number, result))
	}
	return told
}
