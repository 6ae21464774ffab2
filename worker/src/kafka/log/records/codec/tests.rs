use proptest::prelude::*;

use super::*;

const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const LIMIT: usize = 1 << 20;

#[test]
fn numbers_are_kafkas() {
    for (number, codec) in ALL.into_iter().enumerate() {
        assert_eq!((Codec::of(number as u8), codec.number()), (Some(codec), number as u8));
    }
    assert_eq!(Codec::of(5), None);
}

#[test]
fn what_is_exactly_as_long_as_the_limit_is_unpacked_and_a_byte_more_is_not() {
    let noise: Vec<u8> =
        (0..200_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    for plain in [vec![0; 200_000], noise, b"a".to_vec()] {
        for codec in ALL {
            let packed = pack(codec, &plain).unwrap();
            assert!(unpack(codec, &packed, plain.len()).unwrap() == plain, "{codec:?}");
            let error = unpack(codec, &packed, plain.len() - 1).unwrap_err();
            assert!(error.contains(&format!("more than {} bytes", plain.len() - 1)), "{codec:?}: {error}");
        }
    }
}

#[test]
fn nothing_is_packed_and_unpacked() {
    for codec in ALL {
        assert_eq!(unpack(codec, &pack(codec, &[]).unwrap(), LIMIT).unwrap(), [0; 0], "{codec:?}");
    }
}

/// 2 GB of zeros in zstd, made of frames of 16 MB: some 30 kB.
#[test]
fn a_bomb_ends_at_the_limit() {
    let frame = pack(Codec::Zstd, &vec![0; 16 << 20]).unwrap();
    let bomb: Vec<u8> = std::iter::repeat_n(frame, 128).flatten().collect();
    assert!(bomb.len() < 300 << 10, "{}", bomb.len());
    let error = unpack(Codec::Zstd, &bomb, LIMIT).unwrap_err();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
    let gzip = pack(Codec::Gzip, &vec![0; 64 << 20]).unwrap();
    assert!(unpack(Codec::Gzip, &gzip, LIMIT).unwrap_err().contains("more than"));
    let lz4 = pack(Codec::Lz4, &vec![0; 64 << 20]).unwrap();
    assert!(unpack(Codec::Lz4, &lz4, LIMIT).unwrap_err().contains("more than"));
}

#[test]
fn a_claimed_length_reserves_nothing() {
    // A raw block of snappy that claims a gigabyte, and one within the limit that can't be in so few bytes.
    let gigabyte = [0x80, 0x80, 0x80, 0x80, 4, 0, b'a'];
    assert!(unpack(Codec::Snappy, &gigabyte, LIMIT).unwrap_err().contains("more than"));
    let half = [0x80, 0x80, 0x20, 0, b'a'];
    let error = unpack(Codec::Snappy, &half, LIMIT).unwrap_err();
    assert!(error.contains("5 bytes claims to hold 524288"), "{error}");
    let mut xerial = pack(Codec::Snappy, b"abc").unwrap();
    xerial[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(unpack(Codec::Snappy, &xerial, LIMIT).unwrap_err().contains("cut off"));
    let mut lz4 = pack(Codec::Lz4, b"abc").unwrap();
    lz4[7..11].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    assert!(unpack(Codec::Lz4, &lz4, LIMIT).unwrap_err().contains("cut off"));
    // A frame of zstd that claims a window of 2 GB and 5 bytes.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x29, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    assert_eq!(unpack(Codec::Zstd, &zstd, LIMIT).unwrap(), b"hello");
    // And one that claims 4 GB of content.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 255, 255, 255, 255, 0x29, 0, 0, b'h', b'e', b'l', b'l', b'o'];
    assert!(unpack(Codec::Zstd, &zstd, LIMIT).unwrap_err().contains("can't be unpacked (zstd)"));
}

#[test]
fn snappy_is_read_raw_framed_and_in_streams_one_after_another() {
    let plain: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert!(unpack(Codec::Snappy, &raw, LIMIT).unwrap() == plain);
    let framed = pack(Codec::Snappy, &plain).unwrap();
    assert!(framed.starts_with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
    assert!(unpack(Codec::Snappy, &framed, LIMIT).unwrap() == plain);
    let twice = unpack(Codec::Snappy, &[framed.clone(), framed].concat(), LIMIT).unwrap();
    assert!(twice == [plain.clone(), plain].concat());
}

#[test]
fn lz4_is_read_in_every_form_of_frame() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let plain: Vec<u8> = (0..150_000_u32).flat_map(|n| (n / 1000).to_be_bytes()).collect();
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in [false, true] {
                let frame = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks)
                    .content_checksum(checks)
                    .content_size(checks.then_some(plain.len() as u64));
                let mut packed = FrameEncoder::with_frame_info(frame, Vec::new());
                packed.write_all(&plain).unwrap();
                let packed = packed.finish().unwrap();
                assert!(unpack(Codec::Lz4, &packed, LIMIT).unwrap() == plain, "{mode:?} {size:?} {checks}");
                assert!(unpack(Codec::Lz4, &packed, plain.len() - 1).unwrap_err().contains("more than"));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_packed_is_unpacked(
        pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..200), 1..300_usize), 0..20),
    ) {
        let plain: Vec<u8> = pieces.iter().flat_map(|(piece, times)| piece.repeat(*times)).collect();
        for codec in ALL {
            prop_assert!(unpack(codec, &pack(codec, &plain).unwrap(), plain.len()).unwrap() == plain);
        }
    }

    #[test]
    fn damaged_bytes_never_panic_and_stay_within_the_limit(
        plain in proptest::collection::vec(any::<u8>(), 0..400),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        for codec in ALL {
            let mut packed = pack(codec, &plain.repeat(5)).unwrap();
            for (at, byte) in &changes {
                if !packed.is_empty() {
                    let at = at.index(packed.len());
                    packed[at] = *byte;
                }
            }
            packed.truncate(cut.index(packed.len() + 1));
            for found in [unpack(codec, &packed, 1000), unpack(codec, &plain, 1000)].into_iter().flatten() {
                prop_assert!(found.len() <= 1000);
            }
        }
    }
}
