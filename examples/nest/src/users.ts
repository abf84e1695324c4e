import {
  BadRequestException,
  Body,
  Controller,
  Get,
  HttpCode,
  Injectable,
  NotFoundException,
  Param,
  Post,
} from '@nestjs/common'
import { InjectModel } from '@nestjs/mongoose'
import { isValidObjectId, type Model } from 'mongoose'
import { User, type UserDocument } from './user.js'

@Injectable()
export class UsersService {
  constructor(@InjectModel(User.name) private readonly users: Model<UserDocument>) {}

  create(plan: string, name: string, email: string): Promise<UserDocument> {
    return this.users.create({ plan, name, email })
  }

  list(): Promise<UserDocument[]> {
    return this.users.find()
  }

  async byId(id: string): Promise<UserDocument> {
    return found(isValidObjectId(id) ? await this.users.findById(id) : null)
  }

  async byEmail(email: string): Promise<UserDocument> {
    return found(await this.users.findOne({ email }))
  }
}

function found(user: UserDocument | null): UserDocument {
  if (!user) throw new NotFoundException()
  return user
}

@Controller('users')
export class UsersController {
  constructor(private readonly users: UsersService) {}

  @Post()
  async create(@Body() body: Record<string, unknown>) {
    const { id } = await this.users.create(text(body, 'plan'), text(body, 'name'), text(body, 'email'))
    return { id }
  }

  /** Without the encrypted fields, and without a call to KMS: that is what documents are as JSON. */
  @Get()
  list() {
    return this.users.list()
  }

  /** What is to be sent of the encrypted fields is named. */
  @Get(':id')
  async one(@Param('id') id: string) {
    const user = await this.users.byId(id)
    const { name, email } = await user.decrypt()
    return { ...user.toJSON(), name, email }
  }

  /** In the body, for an address in the URL would stand in the log of every server on the way. */
  @Post('search')
  @HttpCode(200)
  async search(@Body() body: Record<string, unknown>) {
    const { id } = await this.users.byEmail(text(body, 'email'))
    return { id }
  }
}

/** A text of a body. An object in its place, such as `{ "$ne": null }`, would be a condition. */
function text(body: Record<string, unknown>, name: string): string {
  const value = body[name]
  if (typeof value !== 'string') throw new BadRequestException(`${name}: expected a text`)
  return value
}
