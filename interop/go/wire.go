package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"time"
)

// What the client keeps to itself is asked by the protocol: the leader's address, ends of queues, committed offsets.

const (
	askMaxOffset       = 30
	askMinOffset       = 31
	askCommittedOffset = 14
	askRoute           = 105
)

type answer struct {
	Code      int               `json:"code"`
	Remark    string            `json:"remark"`
	ExtFields map[string]string `json:"extFields"`
	body      []byte
}

// ask sends one request on a connection of its own: total length, length of the JSON header, header.
func ask(address string, code int, fields map[string]string) (*answer, error) {
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	header, err := json.Marshal(map[string]any{"code": code, "flag": 0, "language": "GO", "opaque": 1, "version": 317,
		"serializeTypeCurrentRPC": "JSON", "extFields": fields})
	if err != nil {
		return nil, err
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(header)))
	if _, err := connection.Write(append(frame, header...)); err != nil {
		return nil, err
	}
	var lengths [8]byte
	if _, err := io.ReadFull(connection, lengths[:]); err != nil {
		return nil, err
	}
	rest := make([]byte, binary.BigEndian.Uint32(lengths[:4])-4)
	if _, err := io.ReadFull(connection, rest); err != nil {
		return nil, err
	}
	headerLength := binary.BigEndian.Uint32(lengths[4:]) & 0xFF_FFFF
	got := &answer{body: rest[headerLength:]}
	return got, json.Unmarshal(rest[:headerLength], got)
}

// The name server writes broker ids as unquoted keys, which is no JSON.
var masterAddress = regexp.MustCompile(`"brokerAddrs":\{[^}]*"?\b0"?:"([^"]+)"`)

// master is the address of the broker, or of the group's leader, that has the topic; empty if there is no route.
func (c *clients) master(topic string) string {
	got, err := ask(c.namesrv, askRoute, map[string]string{"topic": topic})
	must(err)
	found := masterAddress.FindSubmatch(got.body)
	if got.Code != 0 || found == nil {
		return ""
	}
	return string(found[1])
}

func (c *clients) offset(code int, topic string, queue int, fields map[string]string) (int64, error) {
	asked := map[string]string{"topic": topic, "queueId": strconv.Itoa(queue)}
	for name, value := range fields {
		asked[name] = value
	}
	got, err := ask(c.master(topic), code, asked)
	if err != nil {
		return 0, err
	}
	if got.Code != 0 {
		return 0, fmt.Errorf("request %d for %s, queue %d: code %d, %s", code, topic, queue, got.Code, got.Remark)
	}
	return strconv.ParseInt(got.ExtFields["offset"], 10, 64)
}

// committed is the group's offset at the broker; -1 if there is none.
func (c *clients) committed(group, topic string, queue int) int64 {
	found, err := c.offset(askCommittedOffset, topic, queue, map[string]string{"consumerGroup": group})
	if err != nil {
		return -1
	}
	return found
}

// awaitCommitted waits for commits: they are sent without waiting for an answer.
func (c *clients) awaitCommitted(group, topic string, queues int, sum int64) {
	total := func() int64 {
		var total int64
		for queue := 0; queue < queues; queue++ {
			if offset := c.committed(group, topic, queue); offset > 0 {
				total += offset
			}
		}
		return total
	}
	eventually(func() bool { return total() == sum },
		func() string { return fmt.Sprintf("committed offsets sum up to %d, are %d", sum, total()) })
}
