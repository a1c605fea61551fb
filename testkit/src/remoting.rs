//! One connection of the remoting protocol, with JSON headers, that can hold several requests in flight.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// No answer is larger.
const MAX_FRAME_BYTES: usize = 16 << 20;
const ONEWAY: i32 = 2;

/// A connection that nobody else uses.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    last_opaque: i32,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// That of the request.
    pub opaque: i32,
    pub code: i32,
    pub remark: String,
    pub fields: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Empty if it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    /// Connects to `host:port`; connecting and each wait for an answer may take `limit`.
    pub fn open(address: &str, limit: Duration) -> Result<Connection> {
        let address: SocketAddr = address.parse().map_err(Error::other)?;
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(Connection { stream, last_opaque: 0 })
    }

    /// Our end: what a broker stores as born host.
    pub fn local_address(&self) -> Result<SocketAddr> {
        self.stream.local_addr()
    }

    pub fn set_limit(&self, limit: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(limit))
    }

    /// Sends a request and waits for the next answer, which must be its own.
    pub fn ask(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let opaque = self.send(code, fields, body)?;
        let answer = self.receive()?;
        if answer.opaque != opaque {
            return Err(Error::other(format!("answer {} to request {opaque}", answer.opaque)));
        }
        Ok(answer)
    }

    /// Sends a request that nobody answers.
    pub fn tell(&mut self, code: i32, fields: &[(&str, &str)]) -> Result<()> {
        self.write(code, ONEWAY, fields, &[]).map(|_opaque| ())
    }

    /// Sends a request; returns the opaque that its answer will have.
    pub fn send(&mut self, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Result<i32> {
        self.write(code, 0, fields, body)
    }

    fn write(&mut self, code: i32, flag: i32, fields: &[(&str, &str)], body: &[u8]) -> Result<i32> {
        self.last_opaque += 1;
        let fields: BTreeMap<&str, &str> = fields.iter().copied().collect();
        let header = json!({
            "code": code, "language": "JAVA", "version": 409, "opaque": self.last_opaque, "flag": flag,
            "extFields": fields, "serializeTypeCurrentRPC": "JSON",
        });
        let header = header.to_string();
        let mut frame = Vec::new();
        frame.extend((4 + header.len() as u32 + body.len() as u32).to_be_bytes());
        frame.extend((header.len() as u32).to_be_bytes());
        frame.extend(header.as_bytes());
        frame.extend(body);
        self.stream.write_all(&frame)?;
        Ok(self.last_opaque)
    }

    /// The next answer. After an error of kind `WouldBlock` or `TimedOut` nothing had come, and it may be called again.
    pub fn receive(&mut self) -> Result<Answer> {
        let mut lengths = [0; 8];
        self.stream.read_exact(&mut lengths)?;
        let total = u32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]) as usize;
        let header_length = u32::from_be_bytes([0, lengths[5], lengths[6], lengths[7]]) as usize;
        let length = total.checked_sub(4).filter(|length| (header_length..=MAX_FRAME_BYTES).contains(length));
        let mut header = vec![0; length.ok_or(ErrorKind::InvalidData)?];
        self.stream.read_exact(&mut header)?;
        let body = header.split_off(header_length);
        let header: Value = serde_json::from_slice(&header)?;
        let number = |name: &str| header[name].as_i64().and_then(|number| i32::try_from(number).ok());
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields = header["extFields"].as_object().into_iter().flatten();
        Ok(Answer {
            opaque: number("opaque").ok_or(ErrorKind::InvalidData)?,
            code: number("code").ok_or(ErrorKind::InvalidData)?,
            remark: header["remark"].as_str().unwrap_or_default().to_owned(),
            fields: fields.map(|(name, value)| (name.clone(), text(value))).collect(),
            body,
        })
    }
}
