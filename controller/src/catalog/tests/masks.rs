//! What an update changes: what its mask names, whatever the resource holds.

use super::*;

#[tokio::test]
async fn a_mask_changes_what_it_names_and_nothing_else() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let given = v1::Mirror {
        topics: vec!["x".to_owned()],
        display_name: "shown".to_owned(),
        topic_creation: Some(v1::TopicCreation {
            replication_factor: 3,
            enabled: Some(false),
            ..Default::default()
        }),
        ..v1::Mirror { name: mirror.name.clone(), ..Default::default() }
    };
    let paths = ["display_name", "topic_creation.replication_factor"];
    let changed =
        catalog.ask_update_mirror(update(given.clone(), &paths), &State::default()).await.unwrap().resource;
    assert_eq!((changed.display_name.as_str(), &changed.topics), ("shown", &mirror.topics));
    let creation = changed.topic_creation.unwrap();
    assert_eq!((creation.replication_factor, creation.enabled), (3, None));

    let status = catalog
        .ask_update_mirror(update(given, &["display_name", "colour"]), &State::default())
        .await
        .unwrap_err();
    expect(&status, Reason::UNKNOWN_FIELD, "\"colour\"");
}

#[tokio::test]
async fn a_mask_reaches_every_part_of_a_message_and_entries_of_maps() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let set = async |change: fn(&mut v1::Mirror), paths: &[&str]| {
        let mut given = v1::Mirror { name: mirror.name.clone(), ..Default::default() };
        change(&mut given);
        catalog
            .ask_update_mirror(update(given, paths), &State::default())
            .await
            .map(|written| written.resource)
    };
    set(|m| m.labels = [("a".into(), "1".into()), ("b.c".into(), "2".into())].into(), &["labels"])
        .await
        .unwrap();
    set(|m| m.labels = [("b.c".into(), "3".into())].into(), &["labels.`b.c`"]).await.unwrap();
    let changed = set(|_| {}, &["labels.a"]).await.unwrap();
    assert_eq!(changed.labels, [("b.c".to_owned(), "3".to_owned())].into());
    let given: fn(&mut v1::Mirror) = |m| {
        m.offset_syncs =
            Some(v1::OffsetSyncs { lag_max: Some(7), replication_factor: 3, ..Default::default() })
    };
    let changed = set(given, &["offset_syncs.lag_max"]).await.unwrap().offset_syncs.unwrap();
    assert_eq!((changed.lag_max, changed.replication_factor), (Some(7), 0));
    let start: fn(&mut v1::Mirror) = |m| {
        m.start = Some(v1::StartPosition {
            position: Some(v1::start_position::Position::Latest(true)),
            ..Default::default()
        });
    };
    assert!(set(start, &["start.latest"]).await.unwrap().start.is_some());
    // What the server sets is left alone, wherever a client names it.
    let changed = set(|m| m.uid = "mine".into(), &["uid", "etag", "create_time", "name"]).await.unwrap();
    assert_eq!(changed.uid, mirror.uid);
    for path in ["topics.0", "heartbeats.colour", "", ".", "start.latest.x"] {
        expect(&set(|_| {}, &[path]).await.unwrap_err(), Reason::UNKNOWN_FIELD, &format!("{path:?}"));
    }
}

#[tokio::test]
async fn without_a_mask_every_mutable_field_is_replaced_but_a_pause_stays() {
    let (catalog, _folder, mirror) = with_mirror().await;
    catalog.ask_pause_mirror(&mirror.name, "", "").await.unwrap();
    let given =
        v1::Mirror { topics: vec!["x".to_owned()], ..v1::Mirror { name: mirror.name, ..Default::default() } };
    let request = v1::UpdateMirrorRequest { mirror: Some(given), ..Default::default() };
    let changed = catalog.ask_update_mirror(request, &State::default()).await.unwrap().resource;
    assert_eq!(changed.topics, ["x"]);
    assert_eq!(changed.desired_state(), v1::DesiredState::Paused);
    assert_eq!((changed.source.as_str(), changed.block_size), ("clusters/a", 8));
}
