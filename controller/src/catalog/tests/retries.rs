//! Calls that come twice, masks that name nothing, and what earlier versions have stored.

use prost::Message;

use super::*;

#[tokio::test]
async fn a_retried_pause_or_deletion_is_done_once() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let id = Uuid::new_v4().to_string();
    let first = catalog.ask_pause_mirror(&mirror.name, &mirror.etag, &id).await.unwrap();
    // By now the etag is another one.
    let again = catalog.ask_pause_mirror(&mirror.name, &mirror.etag, &id).await.unwrap();
    assert_eq!(first.revision, again.revision);
    let resume = catalog.ask_resume_mirror(&mirror.name, "", &id).await;
    expect(&resume.unwrap_err(), Reason::REQUEST_ID_REUSED, &id);

    let delete = |request_id: &str| v1::DeleteMirrorRequest {
        name: mirror.name.clone(),
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    let id = Uuid::new_v4().to_string();
    let first = catalog.ask_delete_mirror(delete(&id)).await.unwrap();
    let again = catalog.ask_delete_mirror(delete(&id)).await.unwrap();
    assert!(again >= first, "a reader that waits for it sees the deletion");
    expect(&catalog.ask_delete_mirror(delete("")).await.unwrap_err(), Reason::MIRROR_NOT_FOUND, "m");
    let cluster =
        v1::DeleteClusterRequest { name: "clusters/a".into(), request_id: id, ..Default::default() };
    expect(&catalog.ask_delete_cluster(cluster).await.unwrap_err(), Reason::REQUEST_ID_REUSED, "request_id");
    let id = Uuid::new_v4().to_string();
    for _ in 0..2 {
        let name = "clusters/a".to_owned();
        catalog
            .ask_delete_cluster(v1::DeleteClusterRequest {
                name,
                request_id: id.clone(),
                ..Default::default()
            })
            .await
            .unwrap();
    }
}

/// AIP-134: an empty mask changes what was given; `*` clears what was not.
#[tokio::test]
async fn an_empty_mask_names_the_fields_that_are_given() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let given = |display_name: &str| v1::Mirror {
        name: mirror.name.clone(),
        display_name: display_name.to_owned(),
        ..Default::default()
    };
    let none = v1::UpdateMirrorRequest { mirror: Some(given("shown")), ..Default::default() };
    let changed = catalog.ask_update_mirror(none, &State::default()).await.unwrap().resource;
    assert_eq!((changed.display_name.as_str(), &changed.topics), ("shown", &mirror.topics));
    let changed =
        catalog.ask_update_mirror(update(given(""), &["*"]), &State::default()).await.unwrap().resource;
    assert_eq!((changed.display_name.as_str(), changed.topics.len()), ("", 0), "`*` clears the rest");
    assert_eq!((changed.guarantee, changed.naming), (mirror.guarantee, mirror.naming), "these can't change");
}

/// Earlier versions stored the codec by its name.
#[tokio::test]
async fn a_codec_that_was_stored_by_its_name_is_carried_over() {
    let (catalog, _folder, mirror) = with_mirror().await;
    let key = crate::keys::mirror(&"m".parse().unwrap());
    let mut before = v1::Mirror { compression: 0, etag: String::new(), ..mirror.clone() }.encode_to_vec();
    // Field 23, "zstd".
    before.extend([0xba, 0x01, 4]);
    before.extend(b"zstd");
    catalog
        .store
        .commit(crate::store::Transaction {
            guards: Vec::new(),
            writes: vec![crate::store::Write::put(key, before)],
        })
        .await
        .unwrap();
    let named = update(v1::Mirror { display_name: "x".into(), name: mirror.name, ..Default::default() }, &[]);
    let changed = catalog.ask_update_mirror(named, &State::default()).await.unwrap().resource;
    assert_eq!(changed.compression(), v1::Compression::Zstd);
}
