//! Requests by code. A family of requests per file; here what they share.

mod brokers;
mod request;
mod routes;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use raftmq_remoting::{
    FieldValue, RemotingCommand, ReplyBuffer, RequestMeta, RequestProcessor, Session, request_code, response_code,
};
use raftmq_sys::Seams;
use tracing::{info, warn};

use crate::NamesrvConfig;
use crate::kv_config::KvConfig;
use crate::route_table::RouteTable;
use request::{Answer, Refusal};

/// Answers everything that brokers, clients and tools ask a name server.
pub(crate) struct Processor {
    inner: Arc<Inner>,
}

/// What requests work on; shared with jobs that write a file before they answer.
struct Inner {
    routes: Mutex<RouteTable>,
    settings: KvConfig,
    config: RwLock<NamesrvConfig>,
    /// Held while a change of `config` is on its way to the file.
    config_update: Mutex<()>,
    seams: Seams,
}

impl Processor {
    pub(crate) fn new(config: NamesrvConfig, settings: KvConfig, seams: Seams) -> Processor {
        let (routes, config_update) = (Mutex::default(), Mutex::default());
        Processor { inner: Arc::new(Inner { routes, settings, config: RwLock::new(config), config_update, seams }) }
    }

    /// Drops brokers that have been silent for too long.
    pub(crate) fn expire(&self) {
        let now = self.inner.seams.clock.monotonic();
        for expired in self.inner.routes().expire(now) {
            warn!(broker_name = expired.broker_name, address = expired.address, "broker expired");
        }
    }
}

impl Inner {
    fn routes(&self) -> MutexGuard<'_, RouteTable> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> RwLockReadGuard<'_, NamesrvConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, session: &Session, request: &RemotingCommand) -> Result<Answer, Refusal> {
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => self.route(request),
            request_code::REGISTER_BROKER => self.register(session, request),
            request_code::QUERY_DATA_VERSION => self.query_data_version(session, request),
            request_code::BROKER_HEARTBEAT => self.heartbeat(request),
            request_code::UNREGISTER_BROKER => self.unregister(request),
            request_code::GET_BROKER_CLUSTER_INFO => self.cluster_info(),
            request_code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(),
            request_code::GET_TOPICS_BY_CLUSTER => self.topics_of_cluster(request),
            request_code::GET_SYSTEM_TOPIC_LIST_FROM_NS => self.system_topics(),
            request_code::GET_UNIT_TOPIC_LIST => self.unit_topics(),
            request_code::GET_HAS_UNIT_SUB_TOPIC_LIST => self.unit_sub_topics(),
            request_code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => self.unit_sub_only_topics(),
            request_code::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(request),
            request_code::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_permission(request),
            request_code::ADD_WRITE_PERM_OF_BROKER => self.add_write_permission(request),
            request_code::GET_KV_CONFIG => self.setting(request),
            request_code::GET_KVLIST_BY_NAMESPACE => self.settings_of_namespace(request),
            request_code::PUT_KV_CONFIG => self.put_setting(request),
            request_code::DELETE_KV_CONFIG => self.delete_setting(request),
            request_code::UPDATE_NAMESRV_CONFIG => self.update_config(request),
            request_code::GET_NAMESRV_CONFIG => self.dump_config(),
            code => Err(Refusal::new(
                response_code::REQUEST_CODE_NOT_SUPPORTED,
                format!("request type {code} not supported"),
            )),
        }
    }
}

/// Whether a request writes a file; such are answered from a thread that may block.
fn writes_a_file(code: i32) -> bool {
    matches!(code, request_code::PUT_KV_CONFIG | request_code::DELETE_KV_CONFIG | request_code::UPDATE_NAMESRV_CONFIG)
}

impl RequestProcessor for Processor {
    fn process(&self, session: &Arc<Session>, requests: &mut Vec<RemotingCommand>, replies: &mut ReplyBuffer) {
        for command in requests.drain(..) {
            if !writes_a_file(command.code) {
                push(replies, command.meta(), self.inner.answer(session, &command));
                continue;
            }
            let (inner, session) = (Arc::clone(&self.inner), Arc::clone(session));
            let job = move || {
                let mut replies = ReplyBuffer::default();
                push(&mut replies, command.meta(), inner.answer(&session, &command));
                session.send(replies);
            };
            self.inner.seams.spawn.blocking("namesrv-settings", Box::new(job));
        }
    }

    fn closed(&self, session: &Arc<Session>) {
        for address in self.inner.routes().handle_close(session.id()) {
            info!(address, "broker disconnected");
        }
    }
}

fn push(replies: &mut ReplyBuffer, meta: RequestMeta, answer: Result<Answer, Refusal>) {
    match answer {
        Ok(answer) => {
            let fields: Vec<_> = answer.fields.iter().map(|(name, value)| (*name, FieldValue::from(value))).collect();
            replies.push(meta, response_code::SUCCESS, None, &fields, &answer.body);
        }
        Err(refusal) => replies.push(meta, refusal.code, Some(&refusal.remark), &[], &[]),
    }
}
