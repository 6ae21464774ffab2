//! The shapes of all answers that are read here, in the order of their fields: only as far as to know where each ends.
//!
//! A version of a message never changes, so neither does what is written here of it. A test compares every version with the message types.

use super::shape::{BYTES, Shape, TEXT, each, fixed, list, one, tag};

pub(in crate::kafka) const API_VERSIONS: Shape = Shape {
    flexible: 3,
    fields: &[
        fixed(2),
        list(&[fixed(2), fixed(2), fixed(2)]),
        fixed(4).since(1),
        tag(0, &list(&[TEXT, fixed(2), fixed(2)])),
        tag(1, &fixed(8)),
        tag(2, &list(&[TEXT, fixed(2), fixed(2)])),
        tag(3, &fixed(1)),
    ],
};

pub(in crate::kafka) const SASL_HANDSHAKE: Shape =
    Shape { flexible: i16::MAX, fields: &[fixed(2), each(&TEXT)] };

pub(in crate::kafka) const SASL_AUTHENTICATE: Shape =
    Shape { flexible: 2, fields: &[fixed(2), TEXT, BYTES, fixed(8).since(1)] };

pub(in crate::kafka) const METADATA: Shape = Shape {
    flexible: 9,
    fields: &[
        fixed(4),
        list(&[fixed(4), TEXT, fixed(4), TEXT]),
        TEXT,
        fixed(4),
        list(&[
            fixed(2),
            TEXT,
            fixed(16).since(10),
            fixed(1),
            list(&[
                fixed(2),
                fixed(4),
                fixed(4),
                fixed(4).since(7),
                each(&fixed(4)),
                each(&fixed(4)),
                each(&fixed(4)).since(5),
            ]),
            fixed(4).since(8),
        ]),
        fixed(4).within(8, 10),
    ],
};

pub(in crate::kafka) const DESCRIBE_CLUSTER: Shape = Shape {
    flexible: 0,
    fields: &[
        fixed(4),
        fixed(2),
        TEXT,
        fixed(1).since(1),
        TEXT,
        fixed(4),
        list(&[fixed(4), TEXT, fixed(4), TEXT]),
        fixed(4),
    ],
};

pub(in crate::kafka) const CREATE_TOPICS: Shape = Shape {
    flexible: 5,
    fields: &[
        fixed(4),
        list(&[
            TEXT,
            fixed(16).since(7),
            fixed(2),
            TEXT,
            fixed(4).since(5),
            fixed(2).since(5),
            list(&[TEXT, TEXT, fixed(1), fixed(1), fixed(1)]).since(5),
            tag(0, &fixed(2)),
        ]),
    ],
};

pub(in crate::kafka) const CREATE_PARTITIONS: Shape =
    Shape { flexible: 2, fields: &[fixed(4), list(&[TEXT, fixed(2), TEXT])] };

pub(in crate::kafka) const DELETE_TOPICS: Shape =
    Shape { flexible: 4, fields: &[fixed(4), list(&[TEXT, fixed(2), TEXT.since(5)])] };

pub(in crate::kafka) const DESCRIBE_CONFIGS: Shape = Shape {
    flexible: 4,
    fields: &[
        fixed(4),
        list(&[
            fixed(2),
            TEXT,
            fixed(1),
            TEXT,
            list(&[
                TEXT,
                TEXT,
                fixed(1),
                fixed(1),
                fixed(1),
                list(&[TEXT, TEXT, fixed(1)]),
                fixed(1).since(3),
                TEXT.since(3),
            ]),
        ]),
    ],
};

pub(in crate::kafka) const INCREMENTAL_ALTER_CONFIGS: Shape =
    Shape { flexible: 1, fields: &[fixed(4), list(&[fixed(2), TEXT, fixed(1), TEXT])] };

pub(in crate::kafka) const LIST_OFFSETS: Shape = Shape {
    flexible: 6,
    fields: &[
        fixed(4).since(2),
        list(&[TEXT, list(&[fixed(4), fixed(2), fixed(8), fixed(8), fixed(4).since(4)])]),
    ],
};

pub(in crate::kafka) const OFFSET_FOR_LEADER_EPOCH: Shape = Shape {
    flexible: 4,
    fields: &[fixed(4), list(&[TEXT, list(&[fixed(2), fixed(4), fixed(4), fixed(8)])])],
};

pub(in crate::kafka) const FETCH: Shape = Shape {
    flexible: 12,
    fields: &[
        fixed(4),
        fixed(2).since(7),
        fixed(4).since(7),
        list(&[
            TEXT.until(12),
            fixed(16).since(13),
            list(&[
                fixed(4),
                fixed(2),
                fixed(8),
                fixed(8),
                fixed(8).since(5),
                list(&[fixed(8), fixed(8)]),
                fixed(4).since(11),
                BYTES,
                tag(0, &one(&[fixed(4), fixed(8)])),
                tag(1, &one(&[fixed(4), fixed(4)])),
                tag(2, &one(&[fixed(8), fixed(4)])),
            ]),
        ]),
        tag(0, &list(&[fixed(4), TEXT, fixed(4), TEXT])).since(16),
    ],
};

pub(in crate::kafka) const FIND_COORDINATOR: Shape = Shape {
    flexible: 3,
    fields: &[
        fixed(4),
        fixed(2).until(3),
        TEXT.until(3),
        fixed(4).until(3),
        TEXT.until(3),
        fixed(4).until(3),
        list(&[TEXT, fixed(4), TEXT, fixed(4), fixed(2), TEXT]).since(4),
    ],
};

pub(in crate::kafka) const INIT_PRODUCER_ID: Shape =
    Shape { flexible: 2, fields: &[fixed(4), fixed(2), fixed(8), fixed(2)] };

pub(in crate::kafka) const ADD_PARTITIONS_TO_TXN: Shape =
    Shape { flexible: 3, fields: &[fixed(4), list(&[TEXT, list(&[fixed(4), fixed(2)])])] };

pub(in crate::kafka) const END_TXN: Shape = Shape { flexible: 3, fields: &[fixed(4), fixed(2)] };

pub(in crate::kafka) const DESCRIBE_PRODUCERS: Shape = Shape {
    flexible: 0,
    fields: &[
        fixed(4),
        list(&[
            TEXT,
            list(&[
                fixed(4),
                fixed(2),
                TEXT,
                list(&[fixed(8), fixed(4), fixed(4), fixed(8), fixed(4), fixed(8)]),
            ]),
        ]),
    ],
};

pub(in crate::kafka) const DESCRIBE_TRANSACTIONS: Shape = Shape {
    flexible: 0,
    fields: &[
        fixed(4),
        list(&[fixed(2), TEXT, TEXT, fixed(4), fixed(8), fixed(8), fixed(2), list(&[TEXT, each(&fixed(4))])]),
    ],
};

pub(in crate::kafka) const LIST_TRANSACTIONS: Shape =
    Shape { flexible: 0, fields: &[fixed(4), fixed(2), each(&TEXT), list(&[TEXT, fixed(8), TEXT])] };

pub(in crate::kafka) const LIST_GROUPS: Shape = Shape {
    flexible: 3,
    fields: &[fixed(4).since(1), fixed(2), list(&[TEXT, TEXT, TEXT.since(4), TEXT.since(5)])],
};

pub(in crate::kafka) const DESCRIBE_GROUPS: Shape = Shape {
    flexible: 5,
    fields: &[
        fixed(4).since(1),
        list(&[
            fixed(2),
            TEXT.since(6),
            TEXT,
            TEXT,
            TEXT,
            TEXT,
            list(&[TEXT, TEXT.since(4), TEXT, TEXT, BYTES, BYTES]),
            fixed(4).since(3),
        ]),
    ],
};

pub(in crate::kafka) const CONSUMER_GROUP_DESCRIBE: Shape = Shape {
    flexible: 0,
    fields: &[
        fixed(4),
        list(&[
            fixed(2),
            TEXT,
            TEXT,
            TEXT,
            fixed(4),
            fixed(4),
            TEXT,
            list(&[
                TEXT,
                TEXT,
                TEXT,
                fixed(4),
                TEXT,
                TEXT,
                each(&TEXT),
                TEXT,
                one(&[list(&[fixed(16), TEXT, each(&fixed(4))])]),
                one(&[list(&[fixed(16), TEXT, each(&fixed(4))])]),
                fixed(1).since(1),
            ]),
            fixed(4),
        ]),
    ],
};

pub(in crate::kafka) const DELETE_GROUPS: Shape =
    Shape { flexible: 2, fields: &[fixed(4), list(&[TEXT, fixed(2)])] };

pub(in crate::kafka) const OFFSET_FETCH: Shape = Shape {
    flexible: 6,
    fields: &[
        fixed(4).since(3),
        list(&[TEXT, list(&[fixed(4), fixed(8), fixed(4).since(5), TEXT, fixed(2)])]).until(7),
        fixed(2).until(7),
        list(&[TEXT, list(&[TEXT, list(&[fixed(4), fixed(8), fixed(4), TEXT, fixed(2)])]), fixed(2)])
            .since(8),
    ],
};

pub(in crate::kafka) const OFFSET_COMMIT: Shape =
    Shape { flexible: 8, fields: &[fixed(4).since(3), list(&[TEXT, list(&[fixed(4), fixed(2)])])] };

pub(in crate::kafka) const DESCRIBE_CLIENT_QUOTAS: Shape = Shape {
    flexible: 1,
    fields: &[fixed(4), fixed(2), TEXT, list(&[list(&[TEXT, TEXT]), list(&[TEXT, fixed(8)])])],
};

pub(in crate::kafka) const DESCRIBE_ACLS: Shape = Shape {
    flexible: 2,
    fields: &[
        fixed(4),
        fixed(2),
        TEXT,
        list(&[fixed(1), TEXT, fixed(1), list(&[TEXT, TEXT, fixed(1), fixed(1)])]),
    ],
};

pub(in crate::kafka) const CREATE_ACLS: Shape =
    Shape { flexible: 2, fields: &[fixed(4), list(&[fixed(2), TEXT])] };

pub(in crate::kafka) const DELETE_ACLS: Shape = Shape {
    flexible: 2,
    fields: &[
        fixed(4),
        list(&[
            fixed(2),
            TEXT,
            list(&[fixed(2), TEXT, fixed(1), TEXT, fixed(1), TEXT, TEXT, fixed(1), fixed(1)]),
        ]),
    ],
};

pub(in crate::kafka) const PRODUCE: Shape = Shape {
    flexible: 9,
    fields: &[
        list(&[
            TEXT.until(12),
            fixed(16).since(13),
            list(&[
                fixed(4),
                fixed(2),
                fixed(8),
                fixed(8),
                fixed(8).since(5),
                list(&[fixed(4), TEXT]).since(8),
                TEXT.since(8),
                tag(0, &one(&[fixed(4), fixed(4)])).since(10),
            ]),
        ]),
        fixed(4),
        tag(0, &list(&[fixed(4), TEXT, fixed(4), TEXT])).since(10),
    ],
};
