import HostMemory
public import PagingUnits

/// Why the processor's own access to guest memory did not happen.
enum SystemFault: Error {
  /// The guest gets an exception.
  case event(GuestEvent)
  /// The run ends.
  case exit(ProcessorExit)
}

extension Processor {
  /// Reads up to 8 bytes at a linear address, little-endian, on the processor's own behalf.
  func readSystem(
    _ address: UInt64, byteCount: Int, as privilege: Privilege = .implicitSupervisor
  ) throws(SystemFault) -> UInt64 {
    var value: UInt64 = 0
    var done = 0
    while done < byteCount {
      let position = linear(address &+ UInt64(done))
      let count = min(byteCount - done, 4096 - Int(position & 0xFFF))
      let part: UInt64
      switch try place(position, .read, privilege) {
      case .memory(let start, _): part = read(start, count)
      case .device(let start): part = port.readDevice(start, byteCount: count)
      }
      value |= part << UInt64(8 * done)
      done += count
    }
    return value
  }

  /// Writes up to 8 bytes at a linear address, little-endian, on the processor's own behalf.
  func writeSystem(
    _ address: UInt64, _ value: UInt64, byteCount: Int,
    as privilege: Privilege = .implicitSupervisor
  ) throws(SystemFault) {
    var done = 0
    while done < byteCount {
      let position = linear(address &+ UInt64(done))
      let count = min(byteCount - done, 4096 - Int(position & 0xFFF))
      let part = value >> UInt64(8 * done)
      switch try place(position, .write, privilege) {
      case .memory(let start, let isRefused):
        if port.watchesStores {
          port.willStore(
            GuestStore(
              place: start, byteCount: count, value: part, privilege: privilege))
          if port.takesBackStep() { throw .exit(.portStopped) }
        }
        write(part, count, to: start)
        if isRefused {
          port.storeCompleted(in: GuestVirtual(position & ~0xFFF), frame: start.frame)
        }
      case .device(let start): port.writeDevice(start, byteCount: count, value: part)
      }
      done += count
    }
  }

  /// Where a linear address lies.
  private enum Place {
    /// In the arena; `isRefused` when one write is let through.
    case memory(HostPhysical, isRefused: Bool)
    case device(GuestPhysical)
  }

  private func place(
    _ address: UInt64, _ kind: AccessKind, _ privilege: Privilege
  ) throws(SystemFault) -> Place {
    guard isCanonical(address) else { throw .event(.generalProtection()) }
    let request = FillRequest(
      address: GuestVirtual(address), kind: kind, privilege: privilege,
      alignmentCheck: engine[.flags] & 1 << 18 != 0)
    switch port.fill(request) {
    case .filled(let frame, _): return .memory(frame.address + (address & 0xFFF), isRefused: false)
    case .filledOnce(let frame):
      return .memory(frame.address + (address & 0xFFF), isRefused: true)
    case .device(let frame): return .device(frame.address + (address & 0xFFF))
    case .pageFault(let code):
      throw .event(.pageFault(at: GuestVirtual(address), errorCode: code))
    case .stop: throw .exit(.portStopped)
    }
  }

  private func read(_ start: HostPhysical, _ count: Int) -> UInt64 {
    var bytes: InlineArray<8, UInt8> = .init(repeating: 0)
    for index in 0..<count { bytes[index] = byte(start + UInt64(index)) }
    var value: UInt64 = 0
    for index in 0..<count { value |= UInt64(bytes[index]) << UInt64(8 * index) }
    return value
  }

  private func byte(_ position: HostPhysical) -> UInt8 {
    let word = memory.entry(at: HostPhysical(position.raw & ~7))
    return UInt8(truncatingIfNeeded: word >> (8 * (position.raw & 7)))
  }

  private func write(_ value: UInt64, _ count: Int, to start: HostPhysical) {
    if count == 8 && start.raw & 7 == 0 { return memory.setEntry(value, at: start) }
    if count == 4 && start.raw & 3 == 0 {
      return memory.setEntry32(UInt32(truncatingIfNeeded: value), at: start)
    }
    var bytes: InlineArray<8, UInt8> = .init(repeating: 0)
    for index in 0..<count {
      bytes[index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
    }
    // SAFETY: bytes have no padding, and the array outlives the call.
    unsafe memory.write(bytes.span.extracting(0..<count).bytes, to: start)
  }

  // MARK: For reports

  /// Reads guest memory as the kernel would, for dumps; `nil` where nothing is mapped.
  public func peek(_ address: GuestVirtual) -> UInt64? {
    do {
      return try readSystem(address.raw, byteCount: 8)
    } catch {
      return nil
    }
  }
}
