//! Parts of answers.

use std::str::FromStr;

use raftmq_remoting::{RemotingCommand, body, response_code};
use serde::de::DeserializeOwned;

use crate::error::ClientError;

/// The field `name` as text.
pub(crate) fn text(address: &str, answer: &RemotingCommand, name: &str) -> Result<String, ClientError> {
    let value = answer.fields.get(name);
    value
        .map(|value| value.into_owned())
        .ok_or_else(|| ClientError::bad_answer(address, format!("code {} without field {name}", answer.code)))
}

/// The field `name` as a number.
pub(crate) fn number<T: FromStr>(address: &str, answer: &RemotingCommand, name: &str) -> Result<T, ClientError> {
    let value = text(address, answer, name)?;
    value.parse().map_err(|_| ClientError::bad_answer(address, format!("field {name} is {value:?}, not a number")))
}

/// The JSON body, also as Java's fastjson writes it.
pub(crate) fn body<T: DeserializeOwned>(address: &str, answer: &RemotingCommand) -> Result<T, ClientError> {
    body::parse(&answer.body).map_err(|error| ClientError::bad_answer(address, error))
}

/// The answer if its code is SUCCESS.
pub(crate) fn success(address: &str, answer: RemotingCommand) -> Result<RemotingCommand, ClientError> {
    if answer.code == response_code::SUCCESS { Ok(answer) } else { Err(refusal(address, answer)) }
}

/// An answer whose code says no.
pub(crate) fn refusal(address: &str, answer: RemotingCommand) -> ClientError {
    let remark = answer.remark.unwrap_or_default();
    ClientError::Refused { address: address.to_owned(), code: answer.code, remark }
}
