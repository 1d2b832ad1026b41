//! Well-formed files.

use laminar_kernels::WeightType;

use super::super::{Array, Checkpoint, Gguf, GgufWriter, Value};
use super::{Folder, small_file, small_writer};

#[test]
fn what_is_written_is_read_back() {
    let gguf = Gguf::from_vec(small_file()).unwrap();
    assert_eq!((gguf.version(), gguf.name(), gguf.tensor_count()), (3, "small", 2));
    let written = small_writer();
    let expected: Vec<_> = written.metadata().iter().collect();
    assert_eq!(gguf.metadata().iter().collect::<Vec<_>>(), expected);
    let norm = gguf.tensor("norm").unwrap();
    assert_eq!((norm.shape.as_slice(), norm.rows(), norm.cols()), ([3].as_slice(), 1, 3));
    assert_eq!(norm.to_f32().unwrap(), [0.0, 1.0, 2.0]);
    let weight = gguf.tensor("weight").unwrap();
    assert_eq!((weight.rows(), weight.cols(), weight.matrices(), weight.elements()), (2, 32, 1, 64));
    assert_eq!(weight.ty, WeightType::Q8_0);
    for (i, x) in weight.to_f32().unwrap().into_iter().enumerate() {
        assert!((x - i as f32).abs() < 0.3, "{i}: {x}");
    }
    assert!(gguf.tensor("nothing").is_none());
}

#[test]
fn getters_accept_any_width_and_name_the_key_when_the_kind_is_wrong() {
    let gguf = Gguf::from_vec(small_file()).unwrap();
    let metadata = gguf.metadata();
    for (key, value) in [("a.u8", 1), ("a.u16", 2), ("a.u32", 3), ("a.u64", 4)] {
        assert_eq!(metadata.u32(key).unwrap(), Some(value));
    }
    assert_eq!(metadata.f32("a.f64").unwrap(), Some(0.25));
    assert_eq!(metadata.f32("a.i16").unwrap(), Some(-2.0));
    assert_eq!(metadata.i32s("a.u8s").unwrap(), Some(vec![1, 2]));
    assert_eq!(metadata.bool("absent").unwrap(), None);
    assert_eq!(metadata.get("a.bools"), Some(&Value::Array(Array::Bool(vec![true, false]))));
    let error = metadata.u32("a.i8").unwrap_err().to_string();
    assert_eq!(
        error,
        "memory: key \"a.i8\" holds the integer -1, expected an unsigned 32-bit integer; convert the model again"
    );
    let error = metadata.str("a.strings").unwrap_err().to_string();
    assert!(error.contains("\"a.strings\" holds an array of 3 strings, expected a string"), "{error}");
    let error = metadata.require_u32("absent").unwrap_err().to_string();
    assert!(error.contains("missing key \"absent\""), "{error}");
}

#[test]
fn version_2_is_read() {
    let mut bytes = small_file();
    bytes[4] = 2;
    assert_eq!(Gguf::from_vec(bytes).unwrap().version(), 2);
}

#[test]
fn a_file_is_written_under_its_final_name_only_when_it_is_whole() {
    let folder = Folder::new("whole");
    let path = folder.path().join("model.gguf");
    let error = small_writer().write_file(&path, &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.contains("tensor \"norm\": 0 bytes of data were produced, expected 12"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let zeros = &mut |tensor: &super::super::TensorSpec, out: &mut dyn std::io::Write| {
        out.write_all(&vec![0; tensor.bytes]).unwrap();
        Ok(())
    };
    let length = small_writer().write_file(&path, zeros).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!((checkpoint.name(), checkpoint.total_bytes()), ("small", 12 + 68));
}

/// Writes part `number` of `count` with one tensor of its own.
fn part(number: u16, count: u16, tensor: &str) -> Vec<u8> {
    let mut writer = GgufWriter::new("llama");
    if number == 0 {
        writer.set("only.in.first", 1u32);
    }
    writer.set("split.no", number);
    writer.set("split.count", count);
    writer.set("split.tensors.count", i32::from(count));
    writer.add_tensor(tensor, WeightType::F32, &[1]).unwrap();
    let mut bytes = Vec::new();
    writer
        .write(&mut bytes, &mut |_, out| {
            out.write_all(&f32::from(number).to_le_bytes()).unwrap();
            Ok(())
        })
        .unwrap();
    bytes
}

#[test]
fn any_part_of_a_split_file_opens_all() {
    let folder = Folder::new("split");
    let paths: Vec<_> =
        (0..3).map(|i| folder.file(&format!("big-{:05}-of-00003.gguf", i + 1), part(i, 3, &format!("t{i}")))).collect();
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!((gguf.part_count(), gguf.tensor_count(), gguf.name()), (3, 3, "big"));
        assert_eq!(gguf.metadata().u32("only.in.first").unwrap(), Some(1));
        for i in 0..3u8 {
            assert_eq!(gguf.tensor(&format!("t{i}")).unwrap().to_f32().unwrap(), [f32::from(i)]);
        }
    }
}

#[test]
fn a_split_file_that_does_not_fit_together_is_refused() {
    let folder = Folder::new("misfit");
    let first = folder.file("m-00001-of-00002.gguf", part(0, 2, "a"));
    let say = || Gguf::open(&first).unwrap_err().to_string();
    assert!(say().contains("cannot open") && say().contains("m-00002-of-00002.gguf"), "{}", say());
    folder.file("m-00002-of-00002.gguf", part(1, 2, "a"));
    assert!(say().contains("tensor \"a\": an earlier part holds a tensor of the same name"), "{}", say());
    folder.file("m-00002-of-00002.gguf", part(0, 2, "b"));
    assert!(say().contains("the file says it is part 1 of 2, its name says part 2 of 2"), "{}", say());
    let renamed = folder.file("other.gguf", part(0, 2, "a"));
    let error = Gguf::open(&renamed).unwrap_err().to_string();
    assert!(error.contains("its name does not end in -00001-of-00002.gguf"), "{error}");
    let error = Gguf::from_vec(part(0, 2, "a")).unwrap_err().to_string();
    assert!(error.contains("cannot be read from memory"), "{error}");
    let wrong = folder.file("n-00001-of-00003.gguf", part(0, 2, "a"));
    let error = Gguf::open(&wrong).unwrap_err().to_string();
    assert!(error.contains("its name says 3"), "{error}");
}
