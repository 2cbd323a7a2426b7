//! The faults that `--inject` makes of the service.

use super::{Dps, register_path};
use crate::support::hub_client::soon;

#[tokio::test]
async fn a_registration_takes_as_many_polls_as_are_asked_for() {
    let dps = Dps::with_faults("dps-assigning=2@1,dps-retry-after=7");
    let answer = dps.register("gw-07", &dps.token("gw-07"), "").await;
    assert_eq!(answer.header("retry-after"), Some("7"));
    let operation = answer.json()["operationId"].as_str().unwrap().to_owned();
    let path = format!("/{}/registrations/gw-07?api-version=x", super::SCOPE);
    for _ in 0..2 {
        let look_up = dps.request("POST", &path, &[("authorization", &dps.token("gw-07"))], "").await;
        assert_eq!((look_up.status, &look_up.json()["status"]), (200, &"assigning".into()));
        let answer = dps.poll("gw-07", &operation).await;
        assert_eq!((answer.status, answer.header("retry-after")), (202, Some("7")));
        let body = answer.json();
        assert_eq!(
            (&body["operationId"], &body["status"]),
            (&operation.as_str().into(), &"assigning".into())
        );
        assert_eq!(body["registrationState"]["status"], "assigning");
    }
    let answer = dps.poll("gw-07", &operation).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"assigned".into()));
    // The second registration is not delayed.
    assert_eq!(dps.assigned("gw-07").await.json()["status"], "assigned");
}

#[tokio::test]
async fn the_answer_to_a_registration_may_be_final() {
    let dps = Dps::with_faults("dps-assigning=none");
    let answer = dps.register("gw-07", &dps.token("gw-07"), "").await;
    // 202 all the same: the C# client takes a 200 for an error.
    assert_eq!((answer.status, &answer.json()["status"]), (202, &"assigned".into()));
    assert_eq!(answer.json()["registrationState"]["deviceId"], "gw-07");
}

#[tokio::test]
async fn a_registration_may_end_without_an_assignment() {
    for (faults, status) in [
        ("dps=disabled@1", "disabled"),
        ("dps=unassigned@1", "unassigned"),
        ("dps=unknown-status@1", "awaitingApproval"),
    ] {
        let dps = Dps::with_faults(faults);
        let answer = dps.assigned("gw-07").await;
        let body = answer.json();
        assert_eq!((answer.status, &body["status"]), (200, &status.into()), "{faults}");
        assert_eq!(body["registrationState"]["status"], status);
        assert_eq!(body["registrationState"].get("assignedHub"), None);
        assert!(!dps.dir.join("devices/gw-07.conn").exists());
        assert_eq!(dps.assigned("gw-07").await.json()["status"], "assigned");
    }
    let dps = Dps::with_faults("dps-failed=400208@1");
    let answer = dps.assigned("gw-07").await;
    let state = &answer.json()["registrationState"];
    assert_eq!(
        (answer.status, &state["status"], &state["errorCode"]),
        (200, &"failed".into(), &400_208.into())
    );
    let of_the_hub: serde_json::Value =
        serde_json::from_str(state["errorMessage"].as_str().unwrap()).unwrap();
    assert_eq!(of_the_hub["errorCode"], 400_208);
    assert_eq!(dps.assigned("gw-07").await.json()["status"], "assigned");
}

#[tokio::test]
async fn a_device_may_be_assigned_to_another_hub_and_mode() {
    let dps = Dps::with_faults("dps-hub=other.example:8443@1,dps-mode=mqttV5");
    let state = dps.assigned("gw-07").await.json()["registrationState"].clone();
    assert_eq!(
        (&state["assignedHub"], &state["connectionProfile"]),
        (&"other.example:8443".into(), &"mqttV5".into())
    );
    let state = dps.assigned("gw-07").await.json()["registrationState"].clone();
    assert_eq!(state["assignedHub"], dps.hub.name());
}

#[tokio::test]
async fn any_request_may_fail() {
    for (faults, status, retry_after) in [
        ("dps-status=429@1,dps-retry-after=3", 429, Some("3")),
        ("dps-status=503@1", 503, Some("1")),
        ("dps-status=500@1", 500, None),
        ("dps-status=404@1", 404, None),
    ] {
        let dps = Dps::with_faults(faults);
        let answer = dps.register("gw-07", &dps.token("gw-07"), "").await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, retry_after));
        assert_eq!(answer.json()["errorCode"].as_u64().unwrap() / 1000, u64::from(status));
        assert_eq!(dps.assigned("gw-07").await.status, 200);
        assert!(dps.log()[0].starts_with(&format!("gw-07: register: {status} ")), "{:?}", dps.log());
    }

    let dps = Dps::with_faults("dps=garbage@1");
    let answer = dps.register("gw-07", &dps.token("gw-07"), "").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html")));
    assert!(answer.body.starts_with(b"<html>"));
    assert_eq!(dps.assigned("gw-07").await.status, 200);

    let dps = Dps::with_faults("dps=drop@1");
    assert!(dps.try_request("PUT", &register_path("gw-07"), &[], "").await.is_none());
    assert_eq!(dps.assigned("gw-07").await.status, 200);

    let dps = Dps::with_faults("dps=silent@1");
    let path = register_path("gw-07");
    let silent = dps.try_request("PUT", &path, &[], "");
    tokio::select! {
        _ = silent => panic!("there is an answer"),
        // It was asked before the next one.
        () = soon(async {
            while dps.log().is_empty() {
                tokio::task::yield_now().await;
            }
        }) => {}
    }
    assert_eq!(dps.assigned("gw-07").await.status, 200);
}
