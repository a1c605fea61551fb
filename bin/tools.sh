#!/bin/sh
# RocketMQ's tools.sh: runs the raftmq program that stands for a Java class.
#   export NAMESRV_ADDR=localhost:9876
#   sh bin/tools.sh org.apache.rocketmq.example.quickstart.Producer
#   sh bin/tools.sh org.apache.rocketmq.example.quickstart.Consumer
. "$(dirname "$0")/raftmq.sh"

class=$1
[ $# -gt 0 ] && shift
case $class in
    org.apache.rocketmq.example.quickstart.Producer)
        exec "$RAFTMQ" produce -g please_rename_unique_group_name -t TopicTest --tags TagA --count 1000 \
            --body 'Hello RocketMQ {}' --print result "$@"
        ;;
    org.apache.rocketmq.example.quickstart.Consumer)
        exec "$RAFTMQ" consume -g please_rename_unique_group_name_4 -t TopicTest --from first --print java "$@"
        ;;
    org.apache.rocketmq.tools.command.MQAdminStartup)
        exec "$RAFTMQ" admin "$@"
        ;;
esac

[ -n "$class" ] && echo "error: class $class is not known" >&2
cat >&2 <<'END'
usage: sh bin/tools.sh CLASS [OPTIONS]
classes:
  org.apache.rocketmq.example.quickstart.Producer    sends 1000 messages to TopicTest
  org.apache.rocketmq.example.quickstart.Consumer    prints the messages of TopicTest
  org.apache.rocketmq.tools.command.MQAdminStartup   mqadmin
The name server comes from NAMESRV_ADDR, or -n HOST:PORT.
END
exit 2
