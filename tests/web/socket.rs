//! Changes over a WebSocket: a real server, and a client that listens.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use litework::web::Web;
use serde_json::Value;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Error, Message, WebSocket};

use crate::desk::Shop;
use crate::tasks::{export, linger};

/// The shop on a port of its own, until the test has ended.
struct Server {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

fn served(web: &Web) -> Server {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let router: axum::Router = web.router();
    runtime.spawn(async move { axum::serve(listener, router).await });
    Server { address, _runtime: runtime }
}

type Listener = WebSocket<TcpStream>;

/// Opens a socket; the status of the refusal where it is refused.
fn open(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Result<Listener, u16> {
    let mut request = format!("ws:{}{}{path}", "//", server.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(Error::Http(answer))) => {
            Err(answer.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

/// The next message; none when the server has closed.
fn next(socket: &mut Listener) -> Option<(String, Value)> {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                return Some((
                    message["type"].as_str().unwrap().to_owned(),
                    message["data"].clone(),
                ));
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn until(socket: &mut Listener, is: impl Fn(&str, &Value) -> bool) -> Value {
    loop {
        let (name, data) = next(socket).expect("it goes on");
        if is(&name, &data) {
            return data;
        }
    }
}

#[test]
fn a_socket_tells_what_is_then_each_change_then_the_end() {
    let (shop, say) = Shop::working();
    let server = served(&shop.web);
    let id = shop.tasks.enqueue(linger::with().owner("ada")).unwrap().id();
    let path = format!("/tasks/socket?ids={id}");
    let mut socket = open(&server, &path, &[("x-user", "ada")]).unwrap();
    assert_eq!(next(&mut socket).unwrap().0, "hello");
    assert_eq!(next(&mut socket).unwrap().1["id"], id.to_string());
    // What a browser says is not listened to.
    socket.send(Message::text("{\"type\":\"cancel\"}")).unwrap();
    say.send("half").unwrap();
    until(&mut socket, |name, task| name == "task" && task["progress"]["percent"] == 50);
    drop(say);
    until(&mut socket, |name, task| name == "task" && task["state"] == "succeeded");
    assert_eq!(next(&mut socket).unwrap().0, "end");
    assert!(next(&mut socket).is_none());

    let mut late = open(&server, &path, &[("x-user", "ada")]).unwrap();
    assert_eq!(next(&mut late).unwrap().0, "end");
    assert!(next(&mut late).is_none());
}

#[test]
fn a_socket_is_opened_by_those_who_are_let_in_from_pages_of_the_program() {
    let shop = Shop::holding();
    let server = served(&shop.web);
    let ours = format!("http:{}{}", "//", server.address);
    let ada = ("x-user", "ada");
    let refused = |path: &str, headers: &[(&'static str, &str)]| open(&server, path, headers).err();
    assert_eq!(refused("/tasks/socket?mine", &[]), Some(401));
    for origin in ["http://evil.example", "null", "https://localhost"] {
        assert_eq!(
            refused("/tasks/socket?mine", &[ada, ("origin", origin)]),
            Some(403),
            "{origin}"
        );
    }
    assert_eq!(refused("/tasks/socket", &[ada]), Some(400));
    assert_eq!(refused("/tasks/socket?group=till", &[ada]), Some(404));
    assert_eq!(refused("/tasks/socket?mine", &[ada, ("origin", &ours)]), None);

    let theirs = shop.tasks.enqueue(export::with("Bob", 1).owner("bob")).unwrap().id();
    let mine = shop.tasks.enqueue(export::with("Ada", 1).owner("ada")).unwrap().id();
    let mut socket = open(&server, &format!("/tasks/socket?ids={mine},{theirs}"), &[ada]).unwrap();
    next(&mut socket);
    assert_eq!(
        next(&mut socket).unwrap(),
        ("gone".to_owned(), serde_json::json!({ "id": theirs }))
    );
    assert_eq!(next(&mut socket).unwrap().1["id"], mine.to_string());
}

#[test]
fn a_socket_says_goodbye_when_the_program_ends() {
    let shop = Shop::holding();
    let server = served(&shop.web);
    let mut socket = open(&server, "/tasks/socket?mine", &[("x-user", "ada")]).unwrap();
    next(&mut socket);
    shop.tasks.shutdown(Duration::ZERO).unwrap();
    assert_eq!(until(&mut socket, |name, _| name == "bye")["reason"], "shutdown");
    assert!(next(&mut socket).is_none());
}
