//! Queries of twins.

use serde_json::{Value, json};

use super::Emulator;

impl Emulator {
    /// The rows of each page of a query, and the type of its items.
    async fn pages(&self, query: &str, page: &str) -> (Vec<Value>, String) {
        let token = self.policy_token("service");
        let body = json!({ "query": query }).to_string();
        let (mut pages, mut continuation) = (Vec::new(), String::new());
        loop {
            let headers = [
                ("authorization", token.as_str()),
                ("x-ms-max-item-count", page),
                ("x-ms-continuation", &continuation),
            ];
            let answer = self.request("POST", "/devices/query?api-version=x", &headers, &body).await;
            assert_eq!(answer.status, 200, "{query}");
            pages.push(answer.json());
            match answer.header("x-ms-continuation") {
                Some(next) => continuation = next.to_owned(),
                None => return (pages, answer.header("x-ms-item-type").unwrap().to_owned()),
            }
        }
    }
}

#[tokio::test]
async fn twins_are_selected_by_their_properties_page_by_page() {
    let hub = Emulator::with_devices("", &["a", "b/m1", "b/m2", "c/m1", "d"]);
    for (path, site) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "x"), ("b/modules/m2", "x")] {
        let body =
            json!({ "tags": { "site": site }, "properties": { "desired": { "rate": 5 } } }).to_string();
        let path = format!("/twins/{path}?api-version=x");
        assert_eq!(hub.as_policy("service", "PATCH", &path, &body).await.status, 200);
    }
    let _device = hub.device("b", Some("m1")).await;

    let (pages, kind) = hub.pages("SELECT deviceId, tags.site FROM devices WHERE tags.site = 'x'", "2").await;
    let row = |id: &str| json!({ "deviceId": id, "site": "x" });
    assert_eq!((pages, kind.as_str()), (vec![json!([row("a"), row("b")]), json!([row("d")])], "Raw"));

    let (pages, kind) =
        hub.pages("SELECT * FROM devices.modules WHERE connectionState = 'Disconnected'", "1").await;
    let found = pages.iter().map(|page| (page[0]["deviceId"].as_str(), page[0]["moduleId"].as_str()));
    assert_eq!(found.collect::<Vec<_>>(), [(Some("b"), Some("m2")), (Some("c"), Some("m1"))]);
    assert_eq!((kind.as_str(), &pages[0][0]["properties"]["desired"]["rate"]), ("Twin", &json!(5)));

    let query = "SELECT moduleId AS id, properties.desired.rate, properties.reported.gone FROM devices.modules \
                 WHERE deviceId IN ['b'] AND is_defined(properties.desired.rate)";
    assert_eq!(hub.pages(query, "9").await.0, [json!([{ "id": "m2", "rate": 5 }])]);
    assert_eq!(hub.pages("SELECT * FROM devices WHERE deviceId = 'nobody'", "9").await.0, [json!([])]);
}

#[tokio::test]
async fn an_error_says_what_can_be_queried() {
    let hub = Emulator::start("");
    for body in [r#"{"query":"SELECT * FROM devices GROUP BY x"}"#, r#"{"query":1}"#, ""] {
        let answer = hub.as_policy("service", "POST", "/devices/query?api-version=x", body).await;
        assert_eq!((answer.status, answer.code()), (400, 400_004), "{body}");
    }
    let body = r#"{"query":"SELECT COUNT() AS n FROM devices"}"#;
    let answer = hub.as_policy("service", "POST", "/devices/query?api-version=x", body).await;
    let message = answer.failure()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("there is '(' where there should be FROM") && message.contains("AND, OR, NOT"),
        "{message}"
    );
}
