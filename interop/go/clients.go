package main

import (
	"fmt"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var instances atomic.Int64

// clients makes the clients of one scenario, with names of its own, and shuts them down at its end.
type clients struct {
	namesrv string
	suffix  string
	closers []func() error
}

func newClients(namesrv, scenario string) *clients {
	return &clients{namesrv: namesrv, suffix: scenario + "-" + strconv.FormatInt(time.Now().UnixMilli(), 36)}
}

// unique is a name for a topic or group that no earlier run used.
func (c *clients) unique(what string) string { return what + "-" + c.suffix }

func (c *clients) instance() string { return fmt.Sprintf("interop-%d", instances.Add(1)) }

func (c *clients) resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{c.namesrv})
}

// A second shutdown of a client is harmless, so scenarios may shut down on their own.
func (c *clients) close() {
	for i := len(c.closers) - 1; i >= 0; i-- {
		must(c.closers[i]())
	}
}

func (c *clients) producer(options ...producer.Option) rocketmq.Producer {
	options = append([]producer.Option{producer.WithNsResolver(c.resolver()), producer.WithInstanceName(c.instance()),
		producer.WithGroupName(c.unique("producer")), producer.WithRetry(3)}, options...)
	made, err := rocketmq.NewProducer(options...)
	must(err)
	must(made.Start())
	c.closers = append(c.closers, made.Shutdown)
	return made
}

// pushConsumer is started and gives what it receives to the inbox.
func (c *clients) pushConsumer(group, topic, tags string, in *inbox, options ...consumer.Option) rocketmq.PushConsumer {
	options = append([]consumer.Option{consumer.WithNsResolver(c.resolver()), consumer.WithInstance(c.instance()),
		consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	made, err := rocketmq.NewPushConsumer(options...)
	must(err)
	must(made.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, in.listen))
	must(made.Start())
	c.closers = append(c.closers, made.Shutdown)
	return made
}

// pullConsumer is started: the Go client refuses to start one whose topic has no route.
func (c *clients) pullConsumer(group, topic, tags string) rocketmq.PullConsumer {
	made, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(c.resolver()), consumer.WithInstance(c.instance()),
		consumer.WithGroupName(group), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(err)
	must(made.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}))
	must(made.Start())
	c.closers = append(c.closers, made.Shutdown)
	return made
}

type topicAdmin interface {
	admin.Admin
}

func (c *clients) admin() topicAdmin {
	made, err := admin.NewAdmin(admin.WithResolver(c.resolver()))
	must(err)
	c.closers = append(c.closers, made.Close)
	return made
}

// held tells how many queues of the topic a push consumer holds now. The client says so only in the answer to the
// broker's request for running info, whose type lies in a package that cannot be named from outside.
func held(of rocketmq.PushConsumer, topic string) int {
	info := reflect.ValueOf(of).MethodByName("GetConsumerRunningInfo").Call([]reflect.Value{reflect.ValueOf(false)})[0]
	count := 0
	for _, queue := range info.Elem().FieldByName("MQTable").MapKeys() {
		if queue.Interface().(primitive.MessageQueue).Topic == topic {
			count++
		}
	}
	return count
}

// commit writes the offsets of a push consumer to the broker now; the client's own timer waits 10 s, then 5 s.
func commit(of rocketmq.PushConsumer) {
	must(of.(interface{ PersistConsumerOffset() error }).PersistConsumerOffset())
}
