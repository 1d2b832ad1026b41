//! Runs the real program in a fresh folder and looks at what it did.

// Each test file uses a part of this; all of it is test code.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A folder of this test's own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path as text.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, with the user's own settings kept out of the test.
pub fn laminar() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laminar"));
    for name in ["LAMINAR_LOG", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    // No test may reach a real hub by accident.
    command.env("HF_ENDPOINT", "http://127.0.0.1:9");
    command.env("HF_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    command.stdin(Stdio::null());
    command
}

/// What a finished program left behind.
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end.
pub fn finish(command: &mut Command) -> Finished {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Finished {
        code: status.code().unwrap_or(-1),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

impl Finished {
    /// The command must have worked; its stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The command must have refused its input: code 2, nothing on stdout, one
    /// line on stderr that holds each of the words.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        let Self { code, stdout, stderr } = self;
        assert_eq!(*code, 2, "{stderr}");
        assert_eq!(stdout, "");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
        }
    }
}

/// A running `laminar serve`; killed when the test ends.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it said on stderr until it was ready.
    pub greeting: String,
}

impl Server {
    /// Starts on a free port and waits until it says where it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = laminar()
            .args(["serve", "--port", "0"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut greeting = String::new();
        let address = loop {
            let start = greeting.len();
            if lines.read_line(&mut greeting).unwrap() == 0 {
                panic!("the server ended: {greeting}");
            }
            let line = &greeting[start..];
            if line.starts_with("Serving ") {
                let (_, rest) = line.split_once("http://").unwrap();
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
        };
        lines.read_line(&mut greeting).unwrap();
        // Keep reading, or the server would block once the pipe is full.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, address, greeting }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// One request on a connection of its own: status and body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        (status, body)
    }

    /// Asks the server to stop as a service manager would; its exit code.
    #[cfg(unix)]
    pub fn terminate(mut self) -> i32 {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < limit, "the server did not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The payload of a body in chunked transfer coding.
fn unchunk(mut body: &str) -> String {
    let mut payload = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        payload.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap_or("");
    }
    payload
}

/// A GGUF file without tensors, written by hand: magic, version 3, counts,
/// then string keys.
pub fn gguf(keys: &[(&str, &str)]) -> Vec<u8> {
    let string = |text: &str| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let mut file = b"GGUF".to_vec();
    file.extend_from_slice(&3u32.to_le_bytes());
    file.extend_from_slice(&0u64.to_le_bytes());
    file.extend_from_slice(&(keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        file.extend_from_slice(&string(key));
        file.extend_from_slice(&8u32.to_le_bytes());
        file.extend_from_slice(&string(value));
    }
    file
}

/// The model built into the program.
pub fn embedded_model() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/assets/laminar-tiny.gguf")
}
