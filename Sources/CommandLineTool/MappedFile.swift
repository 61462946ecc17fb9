import EventSources
import Glibc

/// A file mapped for reading, for as long as the command runs.
///
/// It is mapped privately and read-only: an image is never written, and a file larger than memory
/// costs what is touched.
struct MappedFile {
  let name: String
  let bytes: FileBytes

  /// Maps the file `name`; `option` names it in error texts.
  init(_ name: String, for option: String) throws {
    self.name = name
    // SAFETY: the name is passed as a terminated string for the length of the call.
    let file = unsafe open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard file >= 0 else { throw Failure("\(option) \(name): \(Failure.systemError)") }
    defer { close(file) }
    var status = stat()
    // SAFETY: the structure is the callee's to fill.
    guard unsafe fstat(file, &status) == 0 else {
      throw Failure("\(option) \(name): \(Failure.systemError)")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw Failure("\(option) \(name): a regular file was expected")
    }
    guard status.st_size > 0 else {
      throw Failure("\(option) \(name): the file is empty, a memory image was expected")
    }
    // SAFETY: a new private mapping at an address of the system's choice touches nothing of ours.
    let start = unsafe mmap(nil, Int(status.st_size), PROT_READ, MAP_PRIVATE, file, 0)
    guard let start = unsafe start, unsafe start != MAP_FAILED else {
      throw Failure("\(option) \(name): \(Failure.systemError)")
    }
    // SAFETY: the mapping is never unmapped while the process lives.
    bytes = unsafe FileBytes(UnsafeRawBufferPointer(start: start, count: Int(status.st_size)))
  }

  /// The bytes, copied.
  var array: [UInt8] {
    (0..<bytes.count).map { bytes.byte(at: $0) }
  }
}
