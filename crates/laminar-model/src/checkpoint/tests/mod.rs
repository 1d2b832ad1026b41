//! Tests of the readers and the writer.

mod gguf;
mod hf;
mod hostile;

use std::path::{Path, PathBuf};

use laminar_kernels::WeightType;

use super::GgufWriter;

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("laminar-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small file with every kind of value and two tensors.
fn small_writer() -> GgufWriter {
    let mut writer = GgufWriter::new("llama");
    writer.set("general.name", "small");
    writer.set("a.u8", 1u8);
    writer.set("a.i8", -1i8);
    writer.set("a.u16", 2u16);
    writer.set("a.i16", -2i16);
    writer.set("a.u32", 3u32);
    writer.set("a.i32", -3i32);
    writer.set("a.u64", 4u64);
    writer.set("a.i64", -4i64);
    writer.set("a.f32", 0.5f32);
    writer.set("a.f64", 0.25f64);
    writer.set("a.bool", true);
    writer.set("a.strings", vec!["one".to_string(), String::new(), "drei €".to_string()]);
    writer.set("a.f32s", vec![1.0f32, 2.0]);
    writer.set("a.i32s", vec![1i32, -2, 3]);
    writer.set("a.u8s", vec![1u8, 2]);
    writer.set("a.bools", vec![true, false]);
    writer.add_tensor("norm", WeightType::F32, &[3]).unwrap();
    writer.add_tensor("weight", WeightType::Q8_0, &[2, 32]).unwrap();
    writer
}

fn small_file() -> Vec<u8> {
    let mut bytes = Vec::new();
    small_writer()
        .write(&mut bytes, &mut |tensor, out| {
            let values: Vec<f32> = (0..tensor.shape.iter().product()).map(|i| i as f32).collect();
            let mut data = Vec::new();
            laminar_kernels::quantize(tensor.ty, &values, &mut data).unwrap();
            out.write_all(&data).unwrap();
            Ok(())
        })
        .unwrap();
    bytes
}
