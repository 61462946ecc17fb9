import CUnicorn
import Glibc

/// Why Unicorn, which executes the guest's instructions, cannot be used.
public enum UnicornError: Error, Hashable, Sendable, CustomStringConvertible {
  /// No shared library was found; the places that were tried.
  case missing(tried: [String])
  /// A library was found that is older than 2.1, which has no virtual TLB.
  case tooOld(version: String)
  /// A library was named or found and cannot be used.
  case unusable(path: String, reason: String)
  /// The library refused a step of setting the processor up.
  case refused(step: String, reason: String)
  /// The library hides a piece of state in no place, or in several, so it could not be driven.
  case calibration(of: String, places: Int)

  /// One line that says what happened and what to do.
  public var description: String {
    switch self {
    case .missing:
      "Unicorn 2.1 (libunicorn.so.2) was not found: run Scripts/bootstrap in the checkout"
    case .tooOld(let version):
      "Unicorn \(version) is too old, 2.1 or later is needed: run Scripts/bootstrap in the checkout"
    case .unusable(let path, let reason):
      "\(path) cannot be used as Unicorn (\(reason)): run Scripts/bootstrap in the checkout"
    case .refused(let step, let reason):
      "Unicorn refused \(step): \(reason)"
    case .calibration(let what, let places):
      "this Unicorn keeps \(what) in \(places) places where exactly one was expected; "
        + "2.1.4 is known to work: run Scripts/bootstrap in the checkout"
    }
  }
}

/// The shared library that executes guest instructions, loaded when it is first needed.
///
/// It is not linked, so that everything builds, and the library products run, without it
/// (decision record 0003).
@safe public final class UnicornLibrary: @unchecked Sendable {
  let functions: UnsafeMutablePointer<cunicorn_library>
  /// The path it was loaded from, or the bare name when the system's loader found it.
  public let path: String
  /// The version as "major.minor.patch".
  public let version: String

  static let fileName = "libunicorn.so.2"

  /// Finds and loads the library.
  ///
  /// Looks at the path in the environment variable `PENUMBRA_UNICORN` if that is set; else for
  /// `.unicorn/lib/libunicorn.so.2` in the folder of the executable and in the current folder, and
  /// in every folder above them; else on the path of the system's loader.
  public convenience init() throws(UnicornError) {
    // SAFETY: `getenv` returns a C string; it is copied at once.
    if let named = unsafe getenv("PENUMBRA_UNICORN") {
      let path = unsafe String(cString: named)
      try self.init(path: path)
      return
    }
    let places = Self.checkoutPlaces()
    // SAFETY: the string is converted for the call.
    for place in places where unsafe access(place, R_OK) == 0 {
      try self.init(path: place)
      return
    }
    do {
      try self.init(path: Self.fileName)
    } catch .unusable {
      throw .missing(tried: places + [Self.fileName])
    }
  }

  /// Loads the library at `path`.
  public init(path: String) throws(UnicornError) {
    let functions = UnsafeMutablePointer<cunicorn_library>.allocate(capacity: 1)
    unsafe functions.initialize(to: cunicorn_library())
    // SAFETY: `functions` points to one table; the message is copied before anything else runs.
    if let message = unsafe cunicorn_load(path, functions) {
      let reason = unsafe String(cString: message)
      unsafe functions.deallocate()
      throw .unusable(path: path, reason: reason)
    }
    // SAFETY: every function of the table was found.
    let number = unsafe cunicorn_version(functions)
    let version = "\(number >> 24).\((number >> 16) & 0xFF).\((number >> 8) & 0xFF)"
    guard number >= 0x0201_0000 else {
      unsafe functions.deallocate()
      throw .tooOld(version: version)
    }
    unsafe self.functions = functions
    self.path = path
    self.version = version
  }

  deinit { unsafe functions.deallocate() }

  /// What an error number of the library means.
  func describe(_ error: Int32) -> String {
    // SAFETY: the library returns a static string for every number.
    guard let text = unsafe cunicorn_describe(functions, error) else { return "error \(error)" }
    return unsafe String(cString: text)
  }

  /// The places inside checkouts, nearest first: above the executable, then above here.
  private static func checkoutPlaces() -> [String] {
    var starts: [String] = []
    if let executable = realPath(of: "/proc/self/exe") { starts.append(executable) }
    if let here = realPath(of: ".") { starts.append(here + "/.") }
    var places: [String] = []
    for start in starts {
      var folder = Substring(start)
      while let slash = folder.lastIndex(of: "/") {
        folder = folder[..<slash]
        let place = "\(folder)/.unicorn/lib/\(fileName)"
        if !places.contains(place) { places.append(place) }
      }
    }
    return places
  }

  private static func realPath(of path: String) -> String? {
    // SAFETY: with no buffer given, `realpath` allocates one, which is freed after the copy.
    guard let resolved = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }
}
