"""What the client cannot ask is asked by the protocol: total length, length of the JSON header, header."""
import json
import re
import socket
import struct

_CREATE_TOPIC, _COMMITTED, _MAX_OFFSET, _MIN_OFFSET, _ROUTE = 17, 14, 30, 31, 105


def _ask(address, code, fields):
    header = json.dumps({'code': code, 'flag': 0, 'language': 'PYTHON', 'opaque': 1, 'version': 317,
                         'serializeTypeCurrentRPC': 'JSON', 'extFields': fields}).encode()
    host, port = address.rsplit(':', 1)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack('>ii', 4 + len(header), len(header)) + header)
        with connection.makefile('rb') as stream:
            length, header_length = struct.unpack('>iI', stream.read(8))
            rest = stream.read(length - 4)
    header_length &= 0xFFFFFF
    answer = json.loads(rest[:header_length])
    return answer['code'], answer.get('extFields') or {}, rest[header_length:].decode()


def _route(namesrv, topic):
    """The master's address and the number of queues; the name server writes broker ids as unquoted keys, no JSON."""
    code, _, body = _ask(namesrv, _ROUTE, {'topic': topic})
    address = re.search(r'"brokerAddrs":\{[^}]*"?\b0"?:"([^"]+)"', body)
    queues = re.search(r'"readQueueNums":(\d+)', body)
    return (address.group(1), int(queues.group(1))) if code == 0 and address and queues else (None, 0)


def master(namesrv, topic):
    return _route(namesrv, topic)[0]


def create_topic(namesrv, topic, queues):
    code, _, body = _ask(master(namesrv, 'TBW102'), _CREATE_TOPIC, {
        'topic': topic, 'defaultTopic': 'TBW102', 'readQueueNums': str(queues), 'writeQueueNums': str(queues),
        'perm': '6', 'topicFilterType': 'SINGLE_TAG', 'topicSysFlag': '0', 'order': 'false'})
    if code != 0:
        raise RuntimeError('create topic: code %d, %s' % (code, body))


def _sum(namesrv, topic, code, fields):
    address, queues = _route(namesrv, topic)
    total = 0
    for queue in range(queues):
        answered, values, _ = _ask(address, code, dict(fields, topic=topic, queueId=str(queue)))
        if answered == 0:
            total += max(0, int(values['offset']))
    return total


def stored(namesrv, topic):
    """How many messages the queues hold."""
    return _sum(namesrv, topic, _MAX_OFFSET, {}) - _sum(namesrv, topic, _MIN_OFFSET, {})


def committed(namesrv, group, topic):
    """The sum of the group's offsets at the broker."""
    return _sum(namesrv, topic, _COMMITTED, {'consumerGroup': group})
